"""Turns actions into doit's tasks. `pipeline.dodo` yields them; the engine decides and does the work."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from doit.action import PythonAction
from doit.dependency import MD5Checker
from doit.exceptions import TaskError, TaskFailed
from doit.task import Task

from pipeline.action import AnyAction
from pipeline.engine.cleaning import clean
from pipeline.engine.engine import Engine
from pipeline.engine.status import targets
from pipeline.errors import SlipwayError, StepError
from pipeline.reports.failures import shortened

log = logging.getLogger(__name__)

GROUPS = {
    "toolchain": "probe the compilers",
    "weights": "fetch and check the weights of each model",
    "prebuilt": "fetch and check objects that others compiled",
    "gen_config": "write the config and tokenizer of raw checkpoints in MLC's form",
    "convert_weight": "quantize raw checkpoints into MLC's form, once for all backends",
    "params": "write the parameters of each model variant, once for all backends",
    "compile": "one cell each: a model variant for a backend",
    "memory": "what a model takes of a device's memory",
    "device": "that each device can hold the models it is to get",
    "archive": "all models of a backend in one static archive",
    "runtime": "the TVM runtime of a backend as static libraries",
    "wasm_runtime": "the TVM runtime of a wasm backend as objects",
    "wasm": "the models of a wasm backend as modules for pages",
    "linkkit": "linker flags, symbol lists and package files of each product",
    "xcframework": "xcframeworks and their zips",
    "aar": "Android libraries in the layout of Maven",
    "layout": "libraries and bundles of each layout, in the tree that it asks for",
    "bundle": "parameters, tokenizer and configuration of each model variant, as an app ships them",
    "app_config": "the records by which MLC's apps and WebLLM find the models of each product",
    "wheel": "fetch TVM's runtime for another machine, to run models on it",
    "twin": "the kernels of another machine's model with host code of this one, to run them",
    "check": "run each model that has a check on what was built, and compare its numbers",
    "verify": "prove every archive and product",
    "product": "what is shipped, put into dist/ once it is proven",
    "manifest": "size and sha256 of everything in dist/, and how it is proven",
}
"""What `doit list` says of each kind of step."""


def tasks(engine: Engine) -> Iterator[Task]:
    """Yield doit's tasks: a group a step, a sub-task an action."""
    groups: dict[str, list[str]] = {}
    for name, action in engine.actions.items():
        groups.setdefault(action.step, []).append(name)
    for step, members in groups.items():
        doc = GROUPS.get(step, "a step of yours, from targets.yaml")
        yield Task(step, None, doc=doc, task_dep=members, has_subtask=True)
    here = "" if engine.root == Path.cwd() else f"{engine.root}/"
    for action in engine.actions.values():
        yield _task(engine, action, here)


def _task(engine: Engine, action: AnyAction, here: str) -> Task:
    """The doit task of one action; `here` leads to the engine's root from the directory doit runs in."""
    return Task(
        action.name,
        [Perform(engine, action)],
        file_dep=tuple(engine.inputs.at(path) if here else path for path in _files_read(engine, action)),
        targets=tuple(f"{here}{path}" for path in targets(action)),
        task_dep=action.waits_for,
        uptodate=(UpToDate(engine, action.name),),
        clean=((_clean, [engine, action.name]),),
        subtask_of=action.step,
        doc=action.doc,
        verbosity=0,
    )


class Perform(PythonAction):  # type: ignore[misc]
    """Has the engine do an action. An error meant for users becomes a `Failed`, and the other tasks go on."""

    def __init__(self, engine: Engine, action: AnyAction) -> None:
        super().__init__(lambda: None)
        self._engine = engine
        self._action = action

    def execute(self, out: object = None, err: object = None) -> TaskFailed | TaskError | None:  # noqa: ARG002 - doit's
        """Bring the outputs up to date; return what went wrong, if anything did."""
        try:
            self._engine.perform(self._action.name)
        except SlipwayError as error:
            return Failed(error, self._action)
        except MemoryError as error:
            hint = "raise the limit (ulimit -v), or run fewer tasks at a time (-n)"
            return Failed(
                StepError(f"there was too little memory for {self._action.name}: {error}", hint=hint), self._action
            )
        except Exception as error:  # noqa: BLE001 - a bug of ours: doit shows the traceback and the other tasks go on
            return TaskError(f"{self._action.name}: {type(error).__name__}: {error}", error)
        return None


class Failed(TaskFailed):  # type: ignore[misc]
    """An action failed with an error meant for users.

    Attributes:
        error: it, with the place in the matrix file that asked for the action: as its own where it knew no other, else
            in its hint.
    """

    def __init__(self, error: SlipwayError, action: AnyAction) -> None:
        if error.where is None:
            error.where = action.where
        elif error.hint and action.where is not None:
            error.hint = error.hint.replace("targets.yaml", str(action.where), 1)
        super().__init__(str(error), report=True)
        self.error = error
        log.debug("%s failed", action.name, exc_info=error)


class UpToDate:
    """The answer to doit's `uptodate`. `doit info` prints its repr as the reason, so that says why."""

    __signature__ = inspect.Signature()
    """doit asks for it before each call, and to find it out takes longer than the answer."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def __call__(self) -> bool:
        """Whether there is nothing to do."""
        return self._engine.status(self._name).fresh

    def __repr__(self) -> str:
        return shortened(self._engine.status(self._name).reason, str(Path.cwd())) or "up to date"


class ContentChecker(MD5Checker):  # type: ignore[misc]
    """The file checker: of our tasks the engine knows (see `WorkspaceDB`), of a project's own tasks doit does."""

    def check_modified(self, file_path: str, file_stat: object, state: object) -> bool:
        """`state` is the engine's verdict on the task that reads the file."""
        if isinstance(state, str):
            return state != "fresh"
        return bool(super().check_modified(file_path, file_stat, state))

    def get_state(self, dep: str, current_state: object) -> object:
        """Nothing to remember of ours: the workspace has it."""
        return None if isinstance(current_state, str) else super().get_state(dep, current_state)


def _files_read(engine: Engine, action: AnyAction) -> Iterator[str]:
    return (path for path in action.files.values() if Path(engine.inputs.at(path)).is_file())


def _clean(engine: Engine, name: str, dryrun: bool) -> None:
    entry = engine.workspace.get(name)
    if entry is None:
        return
    for path in sorted(entry.in_tree):
        print(f"{name} - removing {entry.out}/{path}")  # noqa: T201 - what doit's own clean prints
    if not dryrun:
        try:
            clean(engine, name)
        except SlipwayError as error:
            # An exception would be a traceback and status 0 to doit, for this task and all that follow.
            sys.exit(f"ERROR: {shortened(str(error), str(Path.cwd()))}")
