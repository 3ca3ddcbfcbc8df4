"""Runs one step: a scratch directory, the inputs laid out, memory reserved, what it cost measured.

The engine asks for it when the store has no result. What becomes of the outputs is the engine's business, and what the
step means nobody's but its own. Paths are strings: a graph may have ten thousand actions that take less than pathlib.
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.action import Action, Job, Json, Services, Tool, Worker
from pipeline.errors import StepError

from .memory import Admission
from .usage import Usage, measure

SCRATCH = "build/scratch"
LOGS = "build/log"

Watch = Callable[[str, float, "float | None", str], None]
"""Is told how far an action is: its name, done, total, unit."""


class Steps(Protocol):
    """The code behind the kinds of action."""

    def code(self, step: str) -> str:
        """Digest of all the code that can change what the step does."""

    def load(self, step: str) -> Callable[[Job], Mapping[str, Json] | None]:
        """The step's `run`."""


class StepModules:
    """Steps as modules of a package, `run(job)` in each. `known` are digests that need not be computed again."""

    def __init__(self, package: str, known: Mapping[str, str] | None = None) -> None:
        self._package = package
        self.digests = dict(known or {})
        self._runs: dict[str, Callable[[Job], Mapping[str, Json] | None]] = {}

    def code(self, step: str) -> str:
        """See `Steps`."""
        if step not in self.digests:
            from .code import code_digest  # noqa: PLC0415 - `ast` has no place in a run that changes little

            self.digests[step] = code_digest(f"{self._package}.{step}")
        return self.digests[step]

    def load(self, step: str) -> Callable[[Job], Mapping[str, Json] | None]:
        """See `Steps`."""
        run = self._runs.get(step)
        if run is None:
            run = self._runs[step] = importlib.import_module(f"{self._package}.{step}").run
        return run


class Toolbox:
    """Programs by name, looked up once a run. `found` are those that somebody has asked for."""

    def __init__(self, find: Callable[[str], Tool | None]) -> None:
        self.found: dict[str, Tool | None] = {}
        self._find = find
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Tool | None:
        with self._lock:
            if name not in self.found:
                self.found[name] = self._find(name)
            return self.found[name]


class JobServices(Services):
    """The services of one job; progress goes to whoever watches the run."""

    def __init__(self, name: str, workers: Callable[[str], Worker], watch: Watch) -> None:
        self._name = name
        self._workers = workers
        self._watch = watch

    def worker(self, toolchain: str) -> Worker:
        """See `pipeline.action.Services`."""
        return self._workers(toolchain)

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """See `pipeline.action.Services`."""
        self._watch(self._name, done, total, unit)


class Read(NamedTuple):
    """An input as the engine found it. `shown`: the only files of the directory `path` the step may see; None: all."""

    role: str
    path: str
    shown: Iterable[str] | None = None


class Inputs(Mapping[str, Path]):
    """Role -> path. A step that reads thousands of inputs may take them from `paths`, as text."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths

    def __getitem__(self, role: str) -> Path:
        return Path(self.paths[role])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


class Made(NamedTuple):
    """What a step left in `out`, and what that took; until `Workshop.clear_away`, `out` is nobody else's."""

    out: str
    log: str
    facts: Mapping[str, Json]
    began: float
    seconds: float
    usage: Usage


class Workshop:
    """Runs the steps of one tree.

    Args:
        root: the tree, absolute.
        tools: programs by name.
        workers: the worker of a toolchain by its name.
        admission: lets jobs in as memory allows.
        steps: the code.
    """

    def __init__(
        self, root: str, tools: Toolbox, workers: Callable[[str], Worker], admission: Admission, steps: Steps
    ) -> None:
        self.watch: Watch = lambda *_: None
        self._scratch = f"{root}/{SCRATCH}"
        self._logs = f"{root}/{LOGS}"
        self._tools = tools
        self._workers = workers
        self._admission = admission
        self._steps = steps
        self._numbers = itertools.count()
        self._spare: list[str] = []
        self._ready = False

    def run(self, action: Action, inputs: Iterable[Read], memory: int) -> Made:
        """Run an action's step; the caller takes what it left, and calls `clear_away`.

        Args:
            action: what to do.
            inputs: what it reads.
            memory: bytes it is expected to need.

        Raises:
            SlipwayError: what the step raised, or an output is missing.
        """
        out = self._empty()
        view = _view(out)
        log = f"{self._logs}/{action.step}.{action.subject}.log"
        with suppress(FileNotFoundError):
            os.unlink(log)
        try:
            job = Job(
                params=action.params,
                inputs=Inputs({read.role: _laid_out(read, view) for read in inputs}),
                tools={name: self._tools[name] for name in action.tools},
                out=Path(out),
                log=Path(log),
                services=JobServices(action.name, self._workers, self.watch),
            )
            run = self._steps.load(action.step)
            with self._admission(memory), measure() as usage:
                began, clock = time.time(), time.monotonic()
                facts = run(job) or {}
                seconds = time.monotonic() - clock
            missing = [name for name in action.outputs if not os.path.isfile(f"{out}/{name}")]
            if missing:
                raise StepError(f"{action.name} did not write {', '.join(missing)}", log=Path(log))  # noqa: TRY301
        except BaseException:
            self.clear_away(out)
            raise
        return Made(out, log, facts, began, seconds, usage)

    def clear_away(self, out: str) -> None:
        """Remove what is left of a job."""
        view = _view(out)
        if os.path.lexists(view):
            shutil.rmtree(view, ignore_errors=True)
        try:
            left = os.listdir(out)
        except OSError:
            return
        if left:
            shutil.rmtree(out, ignore_errors=True)
        else:
            self._spare.append(out)

    def clear(self) -> None:
        """Remove what runs that were killed left half-done."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._ready = False

    def _empty(self) -> str:
        """An empty directory: one that an earlier action left, or else a new one. Removing one takes 1 ms on ext4."""
        with suppress(IndexError):
            return self._spare.pop()
        if not self._ready:
            os.makedirs(self._scratch, exist_ok=True)
            os.makedirs(self._logs, exist_ok=True)
            self._ready = True
        out = f"{self._scratch}/{os.getpid()}-{next(self._numbers)}"
        os.mkdir(out)
        return out


def _view(out: str) -> str:
    """Where narrowed inputs are shown to the job that writes to `out`."""
    return f"{out}.view"


def _laid_out(read: Read, view: str) -> str:
    """Where a step finds an input: the place itself, or a directory of links to just what the edge reads."""
    if read.shown is None:
        return read.path
    folder = f"{view}/{read.role.replace('/', '_').replace(':', '.')}"
    os.makedirs(folder)
    for path in read.shown:
        link = f"{folder}/{path}"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(f"{read.path}/{path}", link)
    return folder
