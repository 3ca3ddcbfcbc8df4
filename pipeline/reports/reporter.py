"""doit's reporter: passes what doit tells it to a watcher, and ends a run with its table and its failures.

doit makes one for each run. Here is also where a run begins and ends for the session: the tree is locked, leftovers are
cleared, and after a complete run the no-op stamp is written.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TextIO

from doit.exceptions import BaseFail, InvalidCommand, UnmetDependency
from doit.task import Task

from pipeline.doit_plugin.session import Session, current
from pipeline.doit_plugin.tasks import Failed
from pipeline.engine.status import Outcome
from pipeline.errors import SlipwayError
from pipeline.proofs.report import counted

from .events import BrokenPipeSafeStream, Counts, Watcher
from .failures import Failure, Failures, shortened
from .plain import Plain
from .summary import table
from .tables import terminal_width
from .trace import Trace

LAST = 20
"""Lines that are shown of what a user's own task printed before it failed."""


class Reporter:
    """What doit calls during a run; see doit's ConsoleReporter for the protocol."""

    desc = "Slipway: a board on a terminal, plain lines elsewhere, a table at the end"

    def __init__(self, outstream: TextIO, options: dict[str, object]) -> None:  # noqa: ARG002 - doit's signature
        self._terminal = outstream if outstream.isatty() else None
        self._stream = BrokenPipeSafeStream(outstream)
        self._lock = threading.Lock()
        self._counts = Counts()
        self._errors: list[str] = []
        self._failures = Failures(str(Path.cwd()))
        self._everything = False
        self._over = False
        self._ignored: set[str] = set()
        self._session: Session = current()
        self._watcher: Watcher = Plain(self._stream, self._counts)
        self._trace = Trace()
        self._selected: set[str] = set()
        self._expected: dict[str, float] = {}  # seconds that tasks took last time, without those that turn out fresh

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """The run starts: wait for the tree, clear what a killed run left, put the board up.

        Raises:
            InvalidCommand: the tree cannot be used. Doit ends the run, prints the text, and ends with status 3.
        """
        self._selected = selected = _closure(tasks, selected_tasks)
        engine = self._session.engine
        self._counts.total = len(selected)
        if self._terminal is not None:
            from .live import Live  # noqa: PLC0415 - rich is for terminals

            entries = {name: engine.workspace.get(name) for name in selected}
            self._expected = {name: entry.seconds for name, entry in entries.items() if entry is not None}
            self._watcher = Live(self._terminal, self._counts, self._expected)
        if len(selected_tasks) < len(tasks):  # not just all of them: what is asked for by name is to be there
            asked = {one for name in selected_tasks for one in (name, *tasks[name].task_dep)}
            engine.wanted |= asked & engine.actions.keys()
        all_ours = all(name in engine.actions for name in selected)
        self._everything = all_ours and self._counts.total == len(engine.actions)
        engine.executor.progress = self._progress
        try:
            self._session.begin(note=self._watcher.note, names=selected)
        except SlipwayError as error:
            raise InvalidCommand(shortened(str(error), self._failures.here)) from error
        self._watcher.begin()

    def get_status(self, task: Task) -> None:
        """Doit is about to ask whether a task is fresh: the first that is heard of one that `create_after` made."""
        if task.actions and task.name not in self._selected:
            with self._lock:
                self._selected.add(task.name)
                self._counts.total += 1
                self._everything = False  # a stamp knows nothing of when that task is made

    def execute_task(self, task: Task) -> None:
        """A task starts."""
        if task.actions:
            with self._lock:
                self._watcher.started(task.name)
                self._trace.started(task.name)

    def add_success(self, task: Task) -> None:
        """A task's outputs are in place."""
        if not task.actions:  # the name of a group
            return
        engine = self._session.engine
        with self._lock:
            if self._over:
                return
            if task.name not in engine.actions:  # a task that the user has put beside ours in dodo.py
                outcome = Outcome(task.name, "done", self._trace.since(task.name))
                self._counts.own += 1
            elif (outcome := engine.outcomes[task.name]).how == "built":
                self._counts.built += 1
            else:
                self._counts.restored += 1
            self._watcher.finished(outcome)
            self._trace.ended(task.name, outcome.how, outcome.seconds, outcome.host)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """A task failed, or could not start because one before it failed."""
        with self._lock:
            if self._over:
                return
            if isinstance(fail, UnmetDependency):
                if task.actions:  # else it is the name of a group
                    self._failures.block(task.name, fail.message.split())
                return
            self._counts.failed += 1
            self._trace.ended(task.name, "failed")
            if isinstance(fail, Failed):
                failure = Failure.of(fail.error)
            else:
                own = task.name not in self._session.engine.actions
                failure = Failure(fail.get_msg().rstrip() + (_printed(task) if own else ""))
            self._watcher.failed(task.name, self._failures.add(task.name, failure))

    def skip_uptodate(self, task: Task) -> None:
        """A task is fresh."""
        if task.actions:
            with self._lock:
                self._counts.fresh += 1
                self._expected.pop(task.name, None)

    def skip_ignore(self, task: Task) -> None:
        """A task is ignored at the user's wish (`doit ignore`), or waits for one that is."""
        with self._lock:
            self._counts.ignored += bool(task.actions)
            if self._ignored.isdisjoint((*task.task_dep, *task.setup_tasks)):
                self._watcher.note(
                    f"{task.name}: ignored, as asked by `doit ignore`, with all that waits for it "
                    f"(`doit forget {task.name}` ends that)"
                )
            self._ignored.add(task.name)

    def cleanup_error(self, exception: BaseFail) -> None:
        """A teardown failed; none of ours has one."""
        self._errors.append(exception.get_msg())

    def runtime_error(self, msg: str) -> None:
        """An error of doit's own."""
        self._errors.append(msg)

    def teardown_task(self, task: Task) -> None:
        """A teardown starts; none of ours has one."""

    def complete_run(self) -> None:
        """The run ends: board down, table, failures by first cause, and the stamp when all is up to date."""
        with self._lock:
            self._over = True  # an interrupted run leaves threads behind, and what befalls them is no news
        self._watcher.end()
        complete = not self._failures and not self._errors
        if (self._counts.built or self._counts.restored) and (
            rows := table(self._session.engine, self._failures, terminal_width() if self._terminal else None)
        ):
            self._write(rows)
        self._write(self._said())
        for paragraph in self._failures:
            self._write(f"\n{paragraph}")
        for message in self._errors:
            self._write(f"\nERROR: {shortened(message, self._failures.here)}")
        self._trace.save(self._session.root)
        counts = self._counts
        all_fresh = complete and self._everything and counts.failed == 0 and counts.done == counts.total
        said = f"{counted(counts.total, 'task')}, all fresh: nothing to do.\n"
        self._stream.flush()
        self._session.end(all_fresh=all_fresh, said=said, interrupted=isinstance(sys.exc_info()[1], KeyboardInterrupt))

    def _said(self) -> str:
        counts = self._counts
        tasks = counted(counts.total, "task")
        if counts.fresh == counts.total:
            return f"{tasks}, all fresh: nothing to do."
        parts = [
            ("fresh", counts.fresh),
            ("built", counts.built),
            ("restored", counts.restored),
            ("done", counts.own),
            ("failed", counts.failed),
            ("ignored", counts.ignored),
            ("not started", counts.total - counts.done - counts.ignored),
        ]
        return f"{tasks}: " + ", ".join(f"{n} {what}" for what, n in parts if n)

    def _progress(self, name: str, done: float, total: float | None, unit: str) -> None:
        with self._lock:
            self._watcher.progress(name, done, total, unit)

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")


def _printed(task: Task) -> str:
    """The last lines that the actions of a user's task have printed; ours have logs."""
    texts = (text for action in task.actions for text in (action.out, action.err) if text)
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return "".join(f"\n  | {line}" for line in lines[-LAST:])


def _closure(tasks: dict[str, Task], selected: list[str]) -> set[str]:
    """The tasks with actions that a run will come by: the selected ones and all they depend on."""
    seen: set[str] = set()
    todo = list(selected)
    while todo:
        name = todo.pop()
        if name not in seen and name in tasks:
            seen.add(name)
            todo += tasks[name].task_dep
    return {name for name in seen if tasks[name].actions}
