"""The order in which tasks are started: one as soon as all it waits for has ended.

`runner` uses it in the place of doit's dispatcher, which keeps a generator, six containers and 1.6 kB for each task,
for the sake of features that our tasks do not have. Where a project has tasks of its own that do have them (`setup`,
`calc_dep`, `getargs`, tasks made late), doit's is used. Nothing in here is safe to be used by two threads at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

HOLD = "hold on"
"""What doit's dispatcher says, too, when everything that is left waits for something that runs."""


class Node:
    """A task on its way; the attributes are those of doit's nodes that a runner uses.

    Attributes:
        task: doit's task.
        run_status: what became of it; doit's words.
        bad_deps: nodes it waited for that have failed.
        ignored_deps: nodes it waited for that are ignored.
        waits: for how many tasks it waits still.
        behind: the nodes that wait for it.
    """

    __slots__ = "bad_deps", "behind", "ignored_deps", "run_status", "task", "waits"

    def __init__(self, task: Any) -> None:
        self.task = task
        self.run_status: str | None = None
        self.bad_deps: tuple[Node, ...] = ()
        self.ignored_deps: tuple[Node, ...] = ()
        self.waits = 0
        self.behind: list[Node] | None = None


class Dispatcher:
    """See the module's paragraph.

    Args:
        tasks: doit's, by name.
        selected: names of those that are asked for; what they depend on comes with them.
    """

    def __init__(self, tasks: Mapping[str, Any], selected: Iterable[str]) -> None:
        self.tasks = tasks
        self.generator = self
        wanted = _with_all_before(tasks, selected)
        nodes = {name: Node(task) for name, task in tasks.items() if name in wanted}
        for node in nodes.values():
            for name in set(node.task.task_dep):
                before = nodes[name]
                if before.behind is None:
                    before.behind = []
                before.behind.append(node)
                node.waits += 1
        self._first = deque(node for node in nodes.values() if not node.waits)
        self._ready: deque[Node] = deque()
        self._left = len(nodes)

    @staticmethod
    def suits(tasks: Iterable[Any]) -> bool:
        """Whether none of the tasks needs more than its `task_dep`."""
        return not any(task.setup_tasks or task.calc_dep or task.getargs or task.loader for task in tasks)

    def release(self, finished: Node) -> None:
        """What waited for a node, whose `run_status` is known now, waits for it no more."""
        for node in finished.behind or ():
            if finished.run_status == "failure":
                node.bad_deps += (finished,)
            elif finished.run_status == "ignore":
                node.ignored_deps += (finished,)
            node.waits -= 1
            if not node.waits:
                self._ready.append(node)
        finished.behind = None

    def put_back(self, node: Node) -> None:
        """Give a node out once more."""
        self._left += 1
        self._ready.appendleft(node)

    @property
    def ready(self) -> int:
        """How many could be given out now."""
        return len(self._ready) + len(self._first)

    def send(self, finished: Node | None) -> Node | str:
        """The next task that can be looked at; those that were waited for come before those that nobody waits for.

        Args:
            finished: a node whose `run_status` is known now.

        Returns:
            A node, or `HOLD`.

        Raises:
            StopIteration: all were given out.
        """
        if finished is not None:
            self.release(finished)
        if not self._left:
            raise StopIteration
        queue = self._ready or self._first
        if not queue:
            return HOLD
        self._left -= 1
        return queue.popleft()


def _with_all_before(tasks: Mapping[str, Any], selected: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    todo = list(selected)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += tasks[name].task_dep
    return wanted
