"""A warm interpreter: it imports a toolchain once and forks for every call, or starts anew where forking is not safe.

Steps reach a worker through `Services.worker`; `pool` makes one per toolchain.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pipeline.compilers.confinement import FIXED
from pipeline.documents.codec import decode
from pipeline.errors import CompilerCrash, StepError, StoreError
from pipeline.process import STARTED_WITH

from .client import Server, Stages, call
from .wire import Reply, Request, rebuild

R = TypeVar("R")

FULL_DISK_BYTES = 1 << 20
"""Free bytes below which a crash is reported as a full disk: LLVM ends the process when it cannot write, and what it
prints then goes to a log that cannot be written either."""

IDLE_STAGES = 4
"""Stage processes kept though nobody calls them; each holds a lowered model in memory."""


class ToolchainWorker:
    """A warm interpreter of one toolchain; see `pipeline.action.Worker`. May be used from any thread.

    Args:
        python: the toolchain's interpreter (3.10 or later; it need not have this package). By default the one we run
            in.
        preload: modules to import before the first call: each costs its time once, and no call anything.
        path: directories to find modules in, before the interpreter's own.
        env: environment variables besides `STARTED_WITH` and `FIXED`.
        fresh: whether every call gets an interpreter of its own, stage included: slower, and safe where forking is not.
            It starts before anything is imported, so `preload` is of no use then.
        idle_stages: how many stage processes to keep that nobody calls; the least recently used end first.
        make_room: is called before a call starts anything but a child of a stage that is there.
    """

    def __init__(
        self,
        python: str | Path = sys.executable,
        *,
        preload: Sequence[str] = (),
        path: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        fresh: bool = False,
        idle_stages: int = IDLE_STAGES,
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._python = str(python)
        self._preload = tuple(preload)
        self._environment = environment(path, env or {})
        self._fresh = fresh
        self._make_room = make_room
        self._stages = Stages(idle_stages, make_room)
        self._server: Server | None = None
        self._users = 0
        self._closed = False
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start the interpreter without waiting for its imports, so that other work overlaps them.

        Raises:
            ToolMissing: there is no such interpreter.
        """
        self._running()

    def call(
        self, work: partial[R], *, log: Path, after: partial[Any] | None = None, cpu_limit: float | None = None
    ) -> R:
        """See `pipeline.action.Worker`. The limit holds for the function and for the stage, each by itself.

        Where calls get interpreters of their own, it holds for both together. What the stage printed comes first in
        the log of every call after it, whoever caused it.

        Raises:
            ToolMissing: the interpreter is not there, or cannot import what it should preload.
            CompilerCrash: the child, or the stage, died.
            SlipwayError: what the function raised.
        """
        with log.open("ab") as file, self._in_use():
            if after is None or self._fresh:
                asked = Request(call(work), cpu_limit, after=None if after is None else call(after))
                self._make_room()
                reply = self._running().ask(asked, file)
            else:
                first = Request(call(after), cpu_limit, stage=True)
                reply = self._stages.ask(self._running, first, Request(call(work), cpu_limit), file)
        return _result(work, reply, log)

    def close(self) -> None:
        """End the interpreter and everything it started, at once. Calls under way raise, and so do later ones."""
        with self._lock:
            self._closed, server, self._server = True, self._server, None
        if server is not None:
            server.kill()
        self._stages.clear()

    def trim(self, allowed: int) -> int:
        """End processes that nobody uses, stages first, until those that are left hold at most so many bytes.

        Returns:
            int: how many they hold.
        """
        held = self._stages.trim(allowed)
        with self._lock:
            server = self._server
            if server is None or self._users:
                return held
            if held + server.held <= allowed:
                return held + server.held
            self._server = None
            self._stages.clear()
        server.kill()
        return 0

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1

    def _running(self) -> Server:
        with self._lock:
            if self._closed:
                raise StepError("this worker is closed")
            if self._server is not None and self._server.is_lost():
                self._server.kill()
                self._server = None
            if self._server is None:
                self._server = Server(
                    self._python, "fresh" if self._fresh else "fork", self._preload, self._environment
                )
            return self._server


def environment(path: Sequence[Path], more: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a worker: of ours what it is `STARTED_WITH`, what is `FIXED`, and what its maker adds.

    Nothing that steers a compiler (`TVM_*`, `MLC_*`, `PYTHON*`), that serves the network (a worker downloads nothing)
    or is secret. A recipe does not see even that.
    """
    inherited = {name: value for name, value in os.environ.items() if name in STARTED_WITH}
    inherited["TMPDIR"] = tempfile.gettempdir()
    return {**inherited, **FIXED, **({"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {}), **more}


def _result(work: partial[R], reply: Reply, log: Path) -> R:
    if reply.failure is None:
        value: R = decode(get_type_hints(work.func).get("return", object), reply.value, work.func.__name__)
        return value
    error = rebuild(reply.failure, log)
    if isinstance(error, CompilerCrash) and shutil.disk_usage(log.parent).free < FULL_DISK_BYTES:
        hint = "free some space (doit gc), then run doit again: what is finished is kept"
        raise StoreError(f"no space left on device: {error.what}", where=log.parent, hint=hint)
    raise error
