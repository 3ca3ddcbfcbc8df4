"""Runs one step: a scratch directory, the inputs laid out, memory reserved, what it cost measured.

The engine asks for it when the store has no result. What becomes of the outputs is the engine's business, and what the
step means nobody's but its own. Paths are strings: a graph may have ten thousand actions that take less than pathlib.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.action import Action, Job, Json, Services, Tool, Worker
from pipeline.errors import StepError
from pipeline.store.stat_cache import walk

from .memory import Admission
from .usage import Usage, measure

SCRATCH = "build/scratch"
LOGS = "build/log"

Watch = Callable[[str, float, "float | None", str], None]
"""Is told how far an action is: its name, done, total, unit."""


class Steps(Protocol):
    """The code behind actions."""

    def code(self, module: str) -> str:
        """Digest of all the code that can change what a module's `run` does."""


class StepModules:
    """Modules of steps, each with a `run(job)`. `known` are digests that need not be computed again."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self.digests = dict(known or {})

    def code(self, module: str) -> str:
        """See `Steps`."""
        if module not in self.digests:
            from .code import code_digest  # noqa: PLC0415 - `ast` has no place in a run that changes little

            self.digests[module] = code_digest(module)
        return self.digests[module]


class Tools:
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


class Workers(Protocol):
    """Whoever has the workers of toolchains: as `pipeline.action.Services.worker`."""

    def __call__(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        """See `pipeline.action.Services`."""


class JobServices(Services):
    """The services of one job; progress goes to whoever watches the run."""

    def __init__(self, name: str, workers: Workers, watch: Watch, aside: Callable[[], None], *, strict: bool) -> None:
        self.strict = strict
        self._aside = aside
        self._name = name
        self._workers = workers
        self._watch = watch

    def worker(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        """See `pipeline.action.Services`. What is asked of a worker takes long."""
        self._aside()
        return self._workers(toolchain, fresh=fresh)

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """See `pipeline.action.Services`."""
        self._watch(self._name, done, total, unit)


class Reads(NamedTuple):
    """The inputs of an action as the engine found them.

    Attributes:
        paths: role -> file or directory.
        shown: role -> the only files of that directory that the step may see; roles that are missing here see all.
    """

    paths: dict[str, str]
    shown: Mapping[str, Iterable[str]]


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
    """What a step left in `out`, and what that took; until `Executor.clear_away`, `out` is nobody else's.

    Attributes:
        out: the directory.
        files: relative posix path -> file, for all that is in it, sorted by path.
        texts: relative posix path -> content, for what the step had at hand (see `Job.write`).
        plain: there is nothing but files in it, and there was no view of narrowed inputs: quickly cleared away.
        log: file for what tools printed, which need not be there; None where nobody has asked for one.
        facts: what the step reported.
        began: unix seconds.
        seconds: how long it took by the clock.
        usage: what its workers cost.
    """

    out: str
    files: Mapping[str, str]
    texts: Mapping[str, bytes]
    plain: bool
    log: str | None
    facts: Mapping[str, Json]
    began: float
    seconds: float
    usage: Usage


class Executor:
    """Runs the steps of one tree.

    Args:
        root: the tree, absolute.
        tools: programs by name.
        workers: the worker of a toolchain by its name.
        admission: lets jobs in as memory allows.

    Attributes:
        watch: see `Watch`.
        aside: is called by the thread of a job that is about to wait for another process.
        strict: see `pipeline.action.Services`.
    """

    def __init__(self, root: str, tools: Tools, workers: Workers, admission: Admission) -> None:
        self.watch: Watch = lambda *_: None
        self.aside: Callable[[], None] = lambda: None
        self.strict = False
        self._scratch = f"{root}/{SCRATCH}"
        self._logs = f"{root}/{LOGS}"
        self._tools = tools
        self._workers = workers
        self._admission = admission
        self._numbers = itertools.count()
        self._spare: list[str] = []
        self._written: set[str] = set()
        self._ready = False

    def run(self, action: Action[Any], inputs: Reads, memory: int) -> Made:
        """Run an action's step; the caller takes what it left, and calls `clear_away`.

        Args:
            action: what to do.
            inputs: what it reads.
            memory: bytes it is expected to need.

        Raises:
            SlipwayError: what the step raised, or an output is missing.
        """
        out = self._empty()
        try:
            paths = {**inputs.paths, **dict(self._laid_out(inputs, _view(out)))} if inputs.shown else inputs.paths
            log = self._fresh_log(_log_name(action))
            texts: dict[str, bytes] = {}
            job = Job(
                action.params,
                Inputs(paths),
                {name: self._tools[name] for name in action.tools},
                out,
                log,
                JobServices(action.name, self._workers, self.watch, self.aside, strict=self.strict),
                texts,
            )
            with self._admission(memory), measure() as usage:
                began, clock = time.time(), time.monotonic()
                facts = action.run(job) or {}
                seconds = time.monotonic() - clock
            names, plain = _left_in(out) if job.uses_out else ((), True)
            files = {name: f"{out}/{name}" for name in names}
            missing = [
                name
                for name in action.outputs
                if name not in texts and (name not in files or not (plain or os.path.isfile(files[name])))
            ]
            if missing:
                raise StepError(f"{action.name} did not write {', '.join(missing)}", log=Path(log))  # noqa: TRY301
            if twice := texts.keys() & files.keys():
                raise StepError(f"{action.name} wrote {min(twice)} twice", log=Path(log))  # noqa: TRY301
        except BaseException:
            self._discard(out)
            raise
        printed = log if job.uses_log else None
        return Made(out, files, texts, plain and not inputs.shown, printed, facts, began, seconds, usage)

    def log_of(self, action: Action[Any]) -> Path:
        """Where what an action's tools print is, or would be."""
        return Path(self._logs, _log_name(action))

    def clear_away(self, made: Made, left: Iterable[str]) -> None:
        """Remove what is left of a job; `left` has at least those of its files that are still there."""
        if not made.plain:
            self._discard(made.out)
            return
        for name in left:
            with suppress(FileNotFoundError):
                os.unlink(made.files[name])
        self._spare.append(made.out)

    def clear(self) -> None:
        """Remove what runs that were killed left half-done."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._ready = False

    def become_a_copy(self) -> None:
        """This process was forked: what is spare belongs to the other one."""
        self._spare.clear()
        self.aside = lambda: None

    def _discard(self, out: str) -> None:
        """Remove a scratch directory with all that is in it."""
        shutil.rmtree(_view(out), ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)

    def _empty(self) -> str:
        """An empty directory: one that an earlier action left, or else a new one. Removing one takes 1 ms on ext4."""
        with suppress(IndexError):
            return self._spare.pop()
        if not self._ready:
            os.makedirs(self._scratch, exist_ok=True)
            os.makedirs(self._logs, exist_ok=True)
            self._written.update(os.listdir(self._logs))
            self._ready = True
        out = f"{self._scratch}/{os.getpid()}-{next(self._numbers)}"
        os.mkdir(out)
        return out

    def _fresh_log(self, name: str) -> str:
        """A path that nothing is at: what an earlier run of the action has printed is removed."""
        log = f"{self._logs}/{name}"
        if name in self._written:
            with suppress(FileNotFoundError):
                os.unlink(log)
        self._written.add(name)
        return log

    @staticmethod
    def _laid_out(inputs: Reads, view: str) -> Iterator[tuple[str, str]]:
        """For roles that see a part of a directory, a directory of links to just that."""
        for role, shown in inputs.shown.items():
            folder = f"{view}/{role.replace('/', '_').replace(':', '.')}"
            os.makedirs(folder)
            for path in shown:
                link = f"{folder}/{path}"
                os.makedirs(os.path.dirname(link), exist_ok=True)
                os.symlink(f"{inputs.paths[role]}/{path}", link)
            yield role, folder


def _log_name(action: Action[Any]) -> str:
    return f"{action.step}.{action.subject}.log"


def _left_in(out: str) -> tuple[Sequence[str], bool]:
    """The files in a directory, sorted, and whether they are just that: no directories, no symlinks."""
    with os.scandir(out) as entries:
        found = list(entries)
    if all(entry.is_file(follow_symlinks=False) for entry in found):
        return sorted([entry.name for entry in found]), True
    return sorted(walk(out)), False


def _view(out: str) -> str:
    """Where narrowed inputs are shown to the job that writes to `out`."""
    return f"{out}.view"
