"""Turns actions into doit's tasks, and does nothing else.

The engine is the truth; doit orders the tasks, runs them in threads and talks to the user. `ContentChecker` and
`WorkspaceDB` (in `backend`) show doit the engine's view where it would otherwise keep one of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from doit.action import BaseAction, PythonAction
from doit.dependency import MD5Checker
from doit.exceptions import TaskError, TaskFailed
from doit.task import Task

from pipeline.action import Action
from pipeline.engine.cleaning import clean
from pipeline.engine.engine import Engine
from pipeline.engine.status import targets
from pipeline.errors import SlipwayError
from pipeline.reports.failures import shortened

GROUPS = {
    "toolchain": "probe the compilers",
    "weights": "fetch and check the weights of each model",
    "gen_config": "write the config and tokenizer of raw checkpoints in MLC's form",
    "convert_weight": "quantize raw checkpoints into MLC's form, once for all backends",
    "params": "write the parameters of each model variant, once for all backends",
    "compile": "one cell each: a model variant for a backend",
    "archive": "all models of a backend in one static archive",
    "runtime": "the TVM runtime of a backend as static libraries",
    "wasm_runtime": "the TVM runtime of a wasm backend as objects",
    "wasm": "the models of a wasm backend as modules for pages",
    "linkkit": "linker flags, symbol lists and package files of each product",
    "xcframework": "xcframeworks and their zips",
    "bundle": "parameters, tokenizer and configuration of each model variant, as an app ships them",
    "app_config": "the records by which MLC's apps and WebLLM find the models of each product",
    "verify": "prove every archive and product",
    "manifest": "size and sha256 of everything in dist/, and how it is proven",
}
"""What `doit list` says of each kind of step."""


def tasks(engine: Engine, names: Iterable[str]) -> Iterator[Task]:
    """Yield doit's tasks for the named actions: a group a step, a sub-task an action."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(engine.actions[name].step, []).append(name)
    for step, members in groups.items():
        yield Task(step, None, doc=GROUPS.get(step, step), task_dep=members, has_subtask=True)
    shown = frozenset(names)
    for name in names:
        yield ActionTask(engine, name, shown)


class ActionTask(Task):  # type: ignore[misc]
    """The doit task of one action; paths are relative to the engine's root, where doit runs.

    When doit makes a task it checks twenty fields and puts a new container into each of a dozen, most of which stay
    empty: 40 us and 3 kB, of which a large matrix has ten thousand. So one task of doit's own making is the pattern,
    whose fields are those of the class, and each of ours has its own of just what differs.

    Args:
        engine: the engine.
        name: the action.
        shown: the actions that have tasks. Edges to others are left out: those are fresh.
    """

    def __init__(self, engine: Engine, name: str, shown: Container[str]) -> None:
        action = engine.actions[name]
        self.name = name
        self.subtask_of = action.step
        self.doc = action.doc
        self._actions = self._action_instances = [Perform(engine, name)]
        self.uptodate = ((Fresh(engine, name), None, None),)
        if action.files:
            self.file_dep = set(_files_read(engine, action))
        self.targets = [str(engine.root / path) if engine.elsewhere else path for path in targets(action)]
        self.task_dep = list(dict.fromkeys([e.action for e in action.upstream.values() if e.action in shown]))

    def execute(self, stream: Any) -> TaskFailed | TaskError | None:  # noqa: ARG002 - doit's signature
        """What doit's own does for one action that has neither options, nor output, nor values."""
        self.executed = True
        perform: Perform = self._actions[0]
        return perform.execute()

    @property
    def engine(self) -> Engine:
        """The engine that does it."""
        perform: Perform = self._actions[0]
        return perform.engine

    @property
    def is_in_burst(self) -> bool:
        """Whether it was done, and that is still to be written down."""
        return self.engine.outcomes[self.name].later

    @property
    def is_fresh(self) -> bool:
        """Whether there is nothing to do."""
        return not self.engine.is_new(self.name) and bool(self.uptodate[0][0])

    @property
    def action(self) -> Action[Any]:
        """What is to be done."""
        return self.engine.actions[self.name]

    @property
    def clean_actions(self) -> list[PythonAction]:
        """What `doit clean` runs: not kept, for it is seldom called."""
        return [PythonAction(_clean, [self.engine, self.name], task=self)]


for _field, _value in vars(Task("pattern", [], verbosity=0)).items():
    if _field != "clean_actions":
        setattr(ActionTask, _field, _value)


class Perform(BaseAction):  # type: ignore[misc]
    """Has the engine do an action.

    doit's own PythonAction would take the signature apart each time, and give the process another stdout meanwhile:
    one that all threads share, so that with two of them it may be the wrong one afterwards.
    """

    out = err = result = None
    values: Mapping[str, Any] = {}
    """What doit asks an action for when it is done: nothing of it here."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self._name = name

    def execute(self, out: Any = None, err: Any = None) -> TaskFailed | TaskError | None:  # noqa: ARG002 - doit's
        """Bring the outputs up to date; return what went wrong, if anything did."""
        engine, name = self.engine, self._name
        try:
            engine.perform(name)
        except SlipwayError as error:
            return failed(error, engine.actions[name])
        except Exception as error:  # noqa: BLE001 - a bug of ours: doit shows the traceback and the other tasks go on
            return TaskError(f"{name}: {type(error).__name__}: {error}", error)
        return None


class Fresh:
    """The answer to doit's `uptodate`, given by the engine when somebody looks at it.

    A value and not a function: doit would take that one's signature apart for each task. `doit info` prints its repr as
    the reason, so that says why.
    """

    __slots__ = "_engine", "_name"

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def __bool__(self) -> bool:
        """Whether there is nothing to do."""
        return self._engine.status(self._name).fresh

    def __repr__(self) -> str:
        return shortened(self._engine.status(self._name).reason, str(Path.cwd())) or "fresh"


class ContentChecker(MD5Checker):  # type: ignore[misc]
    """The file checker: by content. The engine has compared digests already when doit comes to ask (see `WorkspaceDB`).

    For the tasks that a project has besides it is doit's own.
    """

    def check_modified(self, file_path: str, file_stat: Any, state: Any) -> bool:
        """`state` is the engine's verdict on the task that reads the file."""
        if isinstance(state, str):
            return state != "fresh"
        return bool(super().check_modified(file_path, file_stat, state))

    def get_state(self, dep: str, current_state: Any) -> Any:
        """Nothing to remember of ours: the workspace has it."""
        return None if isinstance(current_state, str) else super().get_state(dep, current_state)


def failed(error: SlipwayError, action: Action[Any]) -> TaskFailed:
    """What doit is told of an action that failed."""
    return TaskFailed(str(_placed(error, action)), report=True)


def _files_read(engine: Engine, action: Action[Any]) -> Iterable[str]:
    for path in action.files.values():
        if (engine.root / path).is_file():
            yield str(engine.root / path) if engine.elsewhere else path


def _placed(error: SlipwayError, action: Action[Any]) -> SlipwayError:
    """Say where in the matrix file the action was asked for, which no step knows: as the place, and in the hint."""
    if action.where is not None:
        error.where = error.where or action.where
        error.hint = error.hint and error.hint.replace("targets.yaml", str(action.where), 1)
    return error


def _clean(engine: Engine, name: str, dryrun: bool) -> None:
    entry = engine.workspace.get(name)
    if entry is None:
        return
    for path in sorted(entry.outputs):
        print(f"{name} - removing {entry.out}/{path}")  # noqa: T201 - what doit's own clean prints
    if not dryrun:
        try:
            clean(engine, name)
        except SlipwayError as error:
            # An exception would be a traceback and status 0 to doit, for this task and all that follow.
            sys.exit(f"ERROR: {shortened(str(error), str(Path.cwd()))}")
