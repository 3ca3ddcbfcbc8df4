"""Runs doit's tasks in threads of which, as long as actions are quick, one works at a time.

doit's own runner hands every task from a dispatching thread to a working one and back. Where actions take less than a
millisecond, as restored ones do, those threads do nothing but take Python's lock from each other at every system call:
eleven thousand actions take twice the CPU that one thread needs. Here each thread finds its next task by itself, and
takes turns with the others; but nobody waits for one that waits for a compiler, or is at the same action for longer
than `PATIENCE`, so those run side by side. `dodo` puts it in the place of doit's. It knows doit, and nothing of what
tasks do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice, repeat
from typing import Any

from doit import cmd_run
from doit.control import TaskDispatcher
from doit.exceptions import InvalidTask, TaskFailed
from doit.runner import FAILURE, SUCCESS, Runner

from pipeline.action import Action, Json
from pipeline.engine.burst import Burst
from pipeline.engine.engine import Engine
from pipeline.engine.hands import Hand, wanted
from pipeline.errors import SlipwayError
from pipeline.project import current

from .dispatch import HOLD, Dispatcher
from .tasks import ActionTask, failed

PATIENCE = 0.02
"""Seconds after which an action no longer counts as quick."""


def install() -> None:
    """Have doit use this runner, whatever `par_type` says: it looks the names up when a run begins, its only seam.

    `-P process` would have doit send tasks to processes of its own; what is heavy runs in workers' processes already.
    """
    cmd_run.MThreadRunner = cmd_run.MRunner = Threads


class Turns:
    """One thread at a time has the turn. To hold it is good manners, and protects nothing."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._holder = 0
        self._actions = 0

    def take(self, mine: threading.Lock | None) -> threading.Lock:
        """Before each action: get the turn or, with what the last call gave, keep it if nobody has lost patience."""
        while mine is None or mine is not self._turn:
            turn, seen = self._turn, self._actions
            if turn.acquire(timeout=PATIENCE):
                mine = turn  # unless its last holder was given up meanwhile: then there is another one
            elif turn is self._turn and seen == self._actions:
                mine = threading.Lock()
                mine.acquire()
                self._replace(mine)
            self._holder = threading.get_ident()
        self._actions += 1
        return mine

    def give(self, mine: threading.Lock) -> None:
        """Let go of the turn, with what `take` gave."""
        if mine is self._turn:
            mine.release()

    def step_aside(self) -> None:
        """Let go of the turn in the middle of an action that is going to take long: it waits for another process."""
        if self._holder == threading.get_ident():
            self._holder = 0
            self._replace(threading.Lock())

    def _replace(self, turn: threading.Lock) -> None:
        """Have another turn. Those who wait for the old one shall see that."""
        old, self._turn = self._turn, turn
        with suppress(RuntimeError):  # it was let go of just now
            old.release()


class Threads(Runner):  # type: ignore[misc]
    """See the module's paragraph; arguments as of doit's MThreadRunner."""

    def __init__(self, *args: Any, num_process: int | None = None) -> None:
        """The number of threads is the last of the arguments when doit calls this."""
        *rest, count = args if num_process is None else (*args, num_process)
        super().__init__(*rest)
        self._count = count
        self._turns = Turns()
        self._changed = threading.Condition()
        self._holding = 0
        self._over = False
        self._quick: deque[ActionTask] = deque()
        self._hands: list[Hand] = []
        self._error: BaseException | None = None

    @staticmethod
    def available() -> bool:
        """Whether this machine can do it; what doit asks of a runner with processes."""
        return True

    def run_tasks(self, task_dispatcher: TaskDispatcher) -> None:
        """Run all tasks; see doit's Runner."""
        tasks = task_dispatcher.tasks
        if Dispatcher.suits(tasks.values()):
            task_dispatcher = Dispatcher(tasks, task_dispatcher.selected_tasks)
        engine = next((task.engine for task in tasks.values() if type(task) is ActionTask), None)
        if engine is not None and isinstance(task_dispatcher, Dispatcher):
            self._make_hands(engine, [name for name, task in tasks.items() if type(task) is ActionTask])
        threads = [
            threading.Thread(target=self._work, args=(task_dispatcher, hand), name=f"doit-{i}", daemon=True)
            for i, hand in enumerate(islice(chain([None], self._hands, repeat(None)), self._count))
        ]
        with self._bursts(engine):
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                for hand in self._hands:
                    hand.kill()
                raise
        for hand in self._hands:
            hand.let_go()
        if self._error is not None:
            raise self._error

    def _make_hands(self, engine: Engine, names: list[str]) -> None:
        """Have processes that do actions for all threads but the first, if they are worth their while.

        Made before there are threads, for one that holds a lock would not be there to let go of it in a copy.
        """
        session, count = current(), wanted(engine, names, self._count)
        if count:
            with suppress(SlipwayError):  # who asks for a record will be told
                engine.store.records.refresh()  # or each of them would do it by itself
        for _ in range(count):
            self._hands.append(Hand(engine, session.send_notes, session.note, self._hands))

    @contextmanager
    def _bursts(self, engine: Engine | None) -> Iterator[None]:
        """Let the engine, and whoever reports, write down together what quick actions do."""
        if engine is None:
            yield
            return

        burst = Burst(partial(self._write_down, engine))
        engine.in_bursts(burst)
        engine.executor.aside = self._turns.step_aside
        try:
            yield
        finally:
            engine.in_bursts(None)
            try:
                burst.close()
            except SlipwayError as error:
                if self.final_result == SUCCESS:
                    raise InvalidTask(str(error)) from None

    def _write_down(self, engine: Engine) -> None:
        """Have on disk what quick tasks did, and only then say that they are done.

        Raises:
            SlipwayError: it could not be written. Those tasks have failed.
        """
        count = len(self._quick)
        error: SlipwayError | None = None
        try:
            engine.write_down()
        except SlipwayError as caught:
            error = caught
            self.final_result = FAILURE
        for _ in range(count):
            task = self._quick.popleft()
            if error is None:
                self.reporter.add_success(task)
            else:
                self.reporter.add_failure(task, TaskFailed(str(error), report=True))
        if error is not None:
            raise error
        if (show := getattr(self.reporter, "flush", None)) is not None:
            show()

    def finish(self) -> None:
        """The run ends; see doit's Runner. Hands end meanwhile."""
        try:
            super().finish()
        finally:
            for hand in self._hands:
                hand.close()

    def select_task(self, node: Any, tasks: Any) -> bool:
        """Whether the task has to run. One of ours is only asked whether it is fresh: the engine knows all the rest."""
        task = node.task
        if type(task) is ActionTask and not (node.bad_deps or node.ignored_deps or self.always_execute):
            self.reporter.get_status(task)
            if not self.dep_manager.status_is_ignore(task) and not task.is_fresh:
                node.run_status = "run"
                return True
        return bool(super().select_task(node, tasks))

    def process_task_result(self, node: Any, base_fail: Any) -> None:
        """What became of a task is told. Of ours doit's database has nothing to remember."""
        if base_fail is None and type(node.task) is ActionTask:
            node.run_status = "successful"
            if node.task.is_in_burst:
                self._quick.append(node.task)
            else:
                self.reporter.add_success(node.task)
        else:
            super().process_task_result(node, base_fail)

    def _work(self, dispatcher: TaskDispatcher | Dispatcher, hand: Hand | None) -> None:
        """What each thread does."""
        turn: threading.Lock | None = None
        finished = None
        try:
            while True:
                if hand is not None and not hand.is_alive:
                    hand = None
                if hand is None:
                    turn = self._turns.take(turn)
                with self._changed:
                    node = self._next(dispatcher, finished)
                    finished = None
                    if node is None:
                        return
                    if node == HOLD:
                        if turn is not None:
                            self._turns.give(turn)
                            turn = None
                        self._hold()
                        continue
                    several = self._for_hand(dispatcher, node, hand) if hand is not None else ()
                if hand is not None:  # who only waits for it is in nobody's way
                    if several:
                        self._hand_over(dispatcher, several, hand)
                        continue
                    turn = self._turns.take(turn)
                failure = self.execute_task(node.task)
                with self._changed:
                    self.process_task_result(node, failure)
                    finished = node
                if hand is not None and turn is not None:
                    self._turns.give(turn)
                    turn = None
        except BaseException as error:  # noqa: BLE001 - the thread that waits for this one raises it
            self._error = error
            self._stop_running = True
        finally:
            if turn is not None:
                self._turns.give(turn)
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _for_hand(self, dispatcher: Dispatcher, node: Any, hand: Hand) -> list[Any]:
        """This task and some that are ready, too, as many as a hand should have; none when it cannot have this one."""
        if not _is_apart(node):
            return []
        nodes = [node]
        most = min(hand.appetite, dispatcher.ready // self._count)
        while len(nodes) < most:
            more = self._next(dispatcher, None)
            if more is None or more == HOLD:
                break
            if not _is_apart(more):
                dispatcher.put_back(more)
                break
            nodes.append(more)
        return nodes

    def _hand_over(self, dispatcher: Dispatcher, nodes: list[Any], hand: Hand) -> None:
        """Have a hand do tasks, and see to what became of them."""
        for node in nodes:
            self.reporter.execute_task(node.task)
        by_name = {node.task.name: node for node in nodes}
        for name, failure in hand.do(list(by_name)):
            node = by_name[name]
            error = None if failure is None else _rebuilt(failure, node.task.action)
            with self._changed:
                self.process_task_result(node, error)
                dispatcher.release(node)
                if self._holding:
                    self._changed.notify_all()

    def _next(self, dispatcher: TaskDispatcher, finished: Any) -> Any:
        """The next task that has to run, `HOLD`, or None when there is nothing left to start.

        Args:
            dispatcher: doit's; not to be used by two threads at a time.
            finished: what this thread has just finished, if anything; others may have waited for that.
        """
        if finished is not None and self._holding:
            self._changed.notify_all()
        node = finished
        while not self._stop_running:
            try:
                node = dispatcher.generator.send(node)
            except StopIteration:
                return None
            if node == HOLD:
                return HOLD
            if self.select_task(node, dispatcher.tasks):
                return node
        return None

    def _hold(self) -> None:
        """Wait until another thread has finished something."""
        if self._holding == self._count - 1 and not self._over:
            raise InvalidTask("tasks wait for each other")
        self._holding += 1
        try:
            if not self._over:
                self._changed.wait()
        finally:
            self._holding -= 1


def _rebuilt(failure: Json, action: Action[Any]) -> TaskFailed:
    from pipeline.worker.errors import rebuild  # noqa: PLC0415 - not where all is well

    return failed(rebuild(failure), action)


def _is_apart(node: Any) -> bool:
    """Whether a task may be done in another process."""
    return type(node.task) is ActionTask and node.task.action.apart
