"""Runs one step in a scratch directory: memory reserved, cost measured. The engine calls it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline import __version__
from pipeline.action import LOGS, SCRATCH, AnyAction, Job, Services, Tool, Worker
from pipeline.errors import StepError, ToolMissing
from pipeline.files import Digest, temporary_in
from pipeline.store.action_result import ActionResult
from pipeline.store.stat_cache import walk
from pipeline.worker.usage import Usage, measure

from .memory import Admission
from .options import Options

CACHE = "build/cache"

Progress = Callable[[str, float, "float | None", str], None]
"""Is told how far an action is: its name, done, total, unit."""

_PLAIN = Options()

log = logging.getLogger(__name__)


class Tools:
    """Programs by name, looked up once a run. `found` are those that were asked for."""

    def __init__(self, find: Callable[[str], Tool | None]) -> None:
        self.found: dict[str, Tool | None] = {}
        self._find = find
        self._locks: dict[str, threading.Lock] = {}

    def __getitem__(self, name: str) -> Tool | None:
        with self._locks.setdefault(name, threading.Lock()):  # while one is looked for, others can be
            if name not in self.found:
                self.found[name] = self._find(name)
            return self.found[name]

    def changed(self, names: Iterable[str]) -> list[str]:
        """Those of these programs that are no longer what was found."""
        return [name for name in names if self._find(name) != self[name]]


class Workers(Protocol):
    """Gives the worker of a toolchain: as `pipeline.action.Services.worker`."""

    def __call__(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        """See `pipeline.action.Services`."""


class JobServices(Services):
    """The services of one job."""

    def __init__(self, name: str, workers: Workers, progress: Progress, options: Options) -> None:
        self.strict = options.strict
        self.trace_reads = options.trace_reads
        self._name = name
        self._workers = workers
        self._progress = progress

    def worker(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        """See `pipeline.action.Services`."""
        return self._workers(toolchain, fresh=fresh)

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """See `pipeline.action.Services`."""
        self._progress(self._name, done, total, unit)


@dataclass(frozen=True)
class ResolvedInputs:
    """The inputs of an action as the engine found them.

    Attributes:
        paths: role -> file or directory; of an upstream action a view (see `views`).
        digests: role -> relative path -> SHA-256, of what is read of upstream actions.
    """

    paths: Mapping[str, Path]
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExecutionResult:
    """What a step left in `out`, and what that took.

    Attributes:
        out: the directory; the caller takes the files and then calls `Executor.clear_away`.
        files: relative posix path -> file, for all that is in it, sorted by path.
        log: file for what tools printed, which need not be there.
        started: unix seconds.
        seconds: how long it took by the clock.
        known: relative path -> digest of files in `out` that the step has hashed.
        linked: relative path -> file elsewhere that is an output, and its digest.
    """

    out: Path
    files: Mapping[str, str]
    log: Path
    facts: Mapping[str, object]
    started: float
    seconds: float
    usage: Usage
    known: Mapping[str, Digest]
    linked: Mapping[str, tuple[Path, Digest]]


def result_of(key: str, action: AnyAction, fields: Mapping[str, object], made: ExecutionResult) -> ActionResult:
    """What is known of an action that was executed here, before its outputs are committed."""
    return ActionResult(
        key=key,
        name=action.name,
        fields=fields,
        facts=made.facts,
        started=made.started,
        seconds=made.seconds,
        cpu_seconds=made.usage.cpu,
        peak_bytes=made.usage.peak,
        host=os.uname().nodename,
        versions={"python": sys.version.split()[0], "slipway": __version__},
    )


class Executor:
    """Runs the steps of one tree, as `admission` lets them in.

    Attributes:     progress: see `Progress`; the reporter of a run sets it.
    """

    def __init__(
        self, root: Path, tools: Tools, workers: Workers, admission: Admission, options: Options = _PLAIN
    ) -> None:
        self.progress: Progress = lambda *_: None
        self._root = root
        self._tools = tools
        self._workers = workers
        self._admission = admission
        self._options = options

    def run(self, action: AnyAction, inputs: ResolvedInputs, memory: int) -> ExecutionResult:
        """Run an action's step, which should need so many bytes; the caller takes what it left, and calls `clear_away`.

        Raises:
            SlipwayError: what the step raised, or an output is missing.
        """
        out = self.unused()
        out.mkdir(parents=True)
        try:
            log_file = self.log_of(action)
            log_file.parent.mkdir(parents=True, exist_ok=True)
            log_file.unlink(missing_ok=True)
            job = Job(
                params=action.params,
                inputs=inputs.paths,
                tools={name: self._tools[name] for name in action.tools},
                out=out,
                log=log_file,
                services=JobServices(action.name, self._workers, self.progress, self._options),
                cache=self._root / CACHE,
                digests=inputs.digests,
            )
            with self._admission(memory), measure() as usage:
                log.debug("%s: running %s", action.name, action.module)
                started, clock = time.time(), time.monotonic()
                facts = action.run(job) or {}
                seconds = time.monotonic() - clock
            files = {name: f"{out}/{name}" for name in sorted(walk(str(out)))}
            known = {name: digest for name, (file, digest) in job.adopted.items() if files.get(name) == str(file)}
            linked = {name: found for name, found in job.adopted.items() if name not in known}
            made = files | {name: str(file) for name, (file, _) in linked.items()}
            if changed := self._tools.changed(action.tools):
                what = f"{changed[0]} was changed while {action.name} ran"
                raise ToolMissing(what, hint="let the installation finish, then run doit again")  # noqa: TRY301
            missing = [name for name in action.outputs if name not in made or not os.path.isfile(made[name])]
            if missing:
                raise StepError(f"{action.name} did not write {', '.join(missing)}", log=log_file)  # noqa: TRY301
            if twice := linked.keys() & files.keys():
                raise StepError(f"{action.name} made {min(twice)} twice", log=log_file)  # noqa: TRY301
        except BaseException:
            self.clear_away(out)
            raise
        return ExecutionResult(out, files, log_file, facts, started, seconds, usage, known, linked)

    def log_of(self, action: AnyAction) -> Path:
        """Where what an action's tools print is, or would be."""
        return self._root / LOGS / f"{action.step}.{action.subject}.log"

    def clear_away(self, out: Path) -> None:
        """Remove a scratch directory with all that is left in it."""
        shutil.rmtree(out, ignore_errors=True)

    def clear(self) -> None:
        """Remove what runs that were killed left half-done. The tree must be locked."""
        shutil.rmtree(self._root / SCRATCH, ignore_errors=True)

    def unused(self) -> Path:
        """An unused name for a directory that is cleared away."""
        return Path(temporary_in(self._root / SCRATCH))


def gather(root: Path) -> None:
    """Have temporary files of steps and of the programs they start where `Executor.clear` removes them.

    The environment stays as it is: the user's own tasks may keep theirs.
    """
    folder = root / SCRATCH / "tmp"
    folder.mkdir(parents=True)
    tempfile.tempdir = str(folder)
