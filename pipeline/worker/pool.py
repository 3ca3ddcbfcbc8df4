"""The workers of a run: one for each toolchain, made when a step first asks, and all closed when the run ends.

`doit_plugin.session` makes one and hands it to the engine's executor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.action import LOGS, Worker
from pipeline.documents.probe import Probe
from pipeline.errors import FormatError

if TYPE_CHECKING:
    from pipeline.toolchains.environment import Environment

    from .worker import ToolchainWorker

CURRENT = "current"
"""The toolchain that is the Python we run in."""


class ToolchainWorkers:
    """Gives workers by toolchain, whose environment need not have been made yet; `note` gets a line when one is made.

    `room` gives the bytes that processes may take that nobody uses, and is asked before another one is started.
    """

    def __init__(
        self,
        root: Path,
        environment: Callable[[str], Environment],
        note: Callable[[str], None],
        room: Callable[[], int],
    ) -> None:
        self._root = root
        self._environment = environment
        self._note = note
        self._room = room
        self._made: dict[tuple[str, bool], ToolchainWorker] = {}
        self._guards: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def __call__(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        """The worker of a toolchain, whose environment is made first where that is ours to do; see `action.Services`.

        Raises:
            SlipwayError: the environment is not there, or cannot be made.
        """
        fresh = self._cannot_fork(toolchain) if fresh is None else fresh
        with self._guard:
            guard = self._guards.setdefault(toolchain, threading.Lock())
        with guard:  # making an environment takes minutes, in which others shall have theirs
            if (toolchain, fresh) not in self._made:
                self._made[toolchain, fresh] = self._make(toolchain, fresh=fresh)
            return self._made[toolchain, fresh]

    def close(self) -> None:
        """End them all, with everything they are doing."""
        for worker in self._made.values():
            worker.close()

    def _make(self, toolchain: str, *, fresh: bool) -> ToolchainWorker:
        from .worker import ToolchainWorker  # noqa: PLC0415 - only where something is compiled or proven

        preload = [] if fresh else ["tvm"]
        if toolchain == CURRENT:
            preload += [] if fresh else ["pipeline.compilers.relax"]
            return ToolchainWorker(preload=preload, fresh=fresh, make_room=self._make_room)
        environment = self._environment(toolchain)
        log = self._root / LOGS / f"toolchain.{toolchain}.log"
        return ToolchainWorker(
            environment.ensure(log=log, note=self._note),
            preload=preload,
            path=environment.path,
            env=environment.variables,
            fresh=fresh,
            make_room=self._make_room,
        )

    def _make_room(self) -> None:
        """End processes that nobody uses, where memory is short: those in use are in what their jobs need."""
        allowed = self._room()
        for worker in list(self._made.values()):
            allowed -= worker.trim(max(0, allowed))

    def _cannot_fork(self, toolchain: str) -> bool:
        """Whether the toolchain's probe found that children forked from it do not work."""
        try:
            return not Probe.read(self._root / "build/toolchain" / toolchain).fork
        except (FormatError, OSError):
            return False  # nobody has asked yet
