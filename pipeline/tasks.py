"""Turns actions into doit's task dicts, and does nothing else.

The engine is the truth; doit orders the tasks, runs them in threads and talks to the user. `ContentChecker` and
`LedgerDB` (in `backend`) show doit the engine's view where it would otherwise keep one of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from inspect import Signature
from pathlib import Path
from typing import Any

from doit.action import BaseAction
from doit.dependency import FileChangedChecker
from doit.exceptions import TaskError, TaskFailed

from .action import Action
from .errors import SlipwayError
from .reports.failures import shortened
from .run.engine import Engine
from .run.verdict import targets

GROUPS = {
    "toolchain": "probe the compilers",
    "weights": "fetch and check the weights of each model",
    "gen_config": "write the config and tokenizer of raw checkpoints in MLC's form",
    "convert_weight": "quantize raw checkpoints into MLC's form, once for all backends",
    "params": "write the parameters of each model variant, once for all backends",
    "compile": "one cell each: a model variant for a backend",
    "archive": "all models of a backend in one static archive",
    "linkkit": "linker flags, symbol lists and package files of each product",
    "xcframework": "xcframeworks and their zips",
    "bundle": "parameters, tokenizer and configuration of each model variant, as an app ships them",
    "verify": "prove every archive and product",
    "manifest": "size and sha256 of everything in dist/, and how it is proven",
}
"""What `doit list` says of each kind of step."""


def tasks(engine: Engine, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield doit task dicts for the named actions: a group a step, a sub-task an action."""
    shown = frozenset(names)
    actions = [engine.actions[name] for name in names]
    for step in dict.fromkeys(action.step for action in actions):
        yield {"basename": step, "name": None, "doc": GROUPS.get(step, step)}
    for action in actions:
        yield task(engine, action, shown)


def task(engine: Engine, action: Action, shown: Container[str]) -> dict[str, Any]:
    """One action as a doit task dict; paths are relative to the engine's root, where doit runs.

    Edges to actions that doit is not shown are left out: those are fresh.
    """
    return {
        "basename": action.step,
        "name": action.subject,
        "doc": action.doc,
        "actions": [Perform(engine, action.name)],
        "uptodate": [Fresh(engine, action.name)],
        "file_dep": list(_files_read(engine, action)),
        "targets": [str(engine.root / path) if engine.elsewhere else path for path in targets(action)],
        "task_dep": list(dict.fromkeys(edge.action for edge in action.upstream.values() if edge.action in shown)),
        "clean": [(_clean, [engine, action.name])],
        "verbosity": 0,
    }


class Perform(BaseAction):  # type: ignore[misc]
    """Has the engine do an action.

    doit's own PythonAction would take the signature apart each time, and give the process another stdout meanwhile:
    one that all threads share, so that with two of them it may be the wrong one afterwards.
    """

    out = err = result = None
    values: Mapping[str, Any] = {}
    """What doit asks an action for when it is done: nothing of it here."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def execute(self, out: Any = None, err: Any = None) -> TaskFailed | TaskError | None:  # noqa: ARG002 - doit's
        """Bring the outputs up to date; return what went wrong, if anything did."""
        engine, name = self._engine, self._name
        try:
            engine.perform(name)
        except SlipwayError as error:
            return TaskFailed(str(_placed(error, engine.actions[name])), report=True)
        except Exception as error:  # noqa: BLE001 - a bug of ours: doit shows the traceback and the other tasks go on
            return TaskError(f"{name}: {type(error).__name__}: {error}", error)
        return None


class Fresh:
    """The `uptodate` question, answered by the engine. `doit info` prints its repr as the reason, so that says why."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def __call__(self) -> bool:
        """Whether there is nothing to do."""
        return self._engine.verdict(self._name).fresh

    __signature__ = Signature()
    """It takes nothing. doit asks `inspect` for each task, which takes its time to find out."""

    def __repr__(self) -> str:
        return shortened(self._engine.verdict(self._name).reason, str(Path.cwd())) or "fresh"


class ContentChecker(FileChangedChecker):  # type: ignore[misc]
    """The file checker: by content. The engine has compared digests already when doit comes to ask (see `LedgerDB`)."""

    def check_modified(self, file_path: str, file_stat: Any, state: Any) -> bool:  # noqa: ARG002 - doit's signature
        """`state` is the engine's verdict on the task that reads the file."""
        return bool(state != "fresh")

    def get_state(self, dep: str, current_state: Any) -> None:
        """Nothing to remember: the ledger has it."""


def _files_read(engine: Engine, action: Action) -> Iterable[str]:
    for path in action.files.values():
        if (engine.root / path).is_file():
            yield str(engine.root / path) if engine.elsewhere else path


def _placed(error: SlipwayError, action: Action) -> SlipwayError:
    """Say where in the matrix file the action was asked for, which no step knows: as the place, and in the cure."""
    if action.where is not None:
        error.where = error.where or action.where
        error.cure = error.cure and error.cure.replace("targets.yaml", str(action.where), 1)
    return error


def _clean(engine: Engine, name: str, dryrun: bool) -> None:
    entry = engine.ledger.get(name)
    if entry is None:
        return
    for path in sorted(entry.outputs):
        print(f"{name} - removing {entry.out}/{path}")  # noqa: T201 - what doit's own clean prints
    if not dryrun:
        try:
            engine.clean(name)
        except SlipwayError as error:
            # An exception would be a traceback and status 0 to doit, for this task and all that follow.
            sys.exit(f"ERROR: {shortened(str(error), str(Path.cwd()))}")
