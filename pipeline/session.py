"""One doit process: which matrix, where, with which store; opened once, used by the tasks, the reporter and the commands.

This is where the parts are put together; it decides nothing itself.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, snapshot
from .action import Action, Json, Worker
from .errors import MatrixError

if TYPE_CHECKING:
    from .run.engine import Engine
    from .run.worker import ForkWorker

PACKAGE = Path(__file__).resolve().parent


@dataclass(slots=True)
class Options:
    """What a command line asks for beyond doit's own options. `commands.run` fills it in before the matrix is read."""

    strict: bool = False
    store_only: bool = False
    always: bool = False


OPTIONS = Options()
"""The options of this process; one command runs in a process."""


class Session:
    """A matrix file, its actions, and the tree beside it."""

    def __init__(self, targets: Path, options: Options) -> None:
        """Read the matrix and plan it; nothing is built, locked or written yet.

        Raises:
            SlipwayError: the matrix, its lock file or the store cannot be used.
        """
        from .matrix import load  # noqa: PLC0415 - see the module's paragraph
        from .plan import plan  # noqa: PLC0415
        from .run.engine import Engine, Toolbox  # noqa: PLC0415
        from .run.memory import Admission, available  # noqa: PLC0415
        from .run.tools import Finder  # noqa: PLC0415
        from .store.digest import DigestMemo  # noqa: PLC0415
        from .store.ledger import Ledger  # noqa: PLC0415
        from .store.lock import TreeLock  # noqa: PLC0415
        from .store.store import Store  # noqa: PLC0415
        from .weights.lock import read_lock  # noqa: PLC0415

        if not targets.is_file():
            raise MatrixError("there is no such file", where=targets, cure="write one with: doit init")
        self.targets = targets
        self.root = targets.parent
        self.options = options
        self.notes: list[str] = []
        self.matrix = load(targets)
        self.lock_path = self.root / "slipway.lock"
        lock = read_lock(self.lock_path)
        pins = {m.model: lock.entry_for(m.model, m.weights) for m in self.matrix.models if m.weights is not None}
        build = self.root / "build"
        self._finder = Finder(build / "tools.json")
        self._memo = DigestMemo(build / "digests")
        self._ledger = Ledger(build / "ledger", self.note)
        self._lock = TreeLock(build / "lock", say=self.note)
        self._store = Store(os.environ.get("SLIPWAY_STORE") or build / "store", note=self.note)
        self._workers: dict[str, ForkWorker] = {}
        self.engine: Engine = Engine(
            self.root,
            plan(self.matrix, pins, strict=options.strict),
            store=self._store,
            ledger=self._ledger,
            memo=self._memo,
            tools=Toolbox(self._finder.find),
            workers=self._worker,
            admission=Admission(available()),
            versions={"python": sys.version.split()[0], "slipway": __version__},
        )
        self.engine.elsewhere = self.root.resolve() != Path.cwd()
        self.engine.always = options.always
        self.engine.store_only = options.store_only
        self.engine.pin = self._pin

    def note(self, text: str) -> None:
        """Something worth a line; replaced by the run's watcher while there is one."""
        self.notes.append(text)

    def begin(self, note: Callable[[str], None]) -> None:
        """A run starts: wait for the tree, clear what killed runs left, take away what the matrix no longer has.

        Raises:
            StoreError: another doit builds here and we are not to wait.
        """
        for text in self.notes:
            note(text)
        self.note = note  # type: ignore[method-assign]
        if self._lock.acquire():
            self._ledger.refresh()
            self.engine.reconsider()
        snapshot.drop(str(self.targets))
        self.engine.clear_scratch()
        for name, removed in self.engine.prune():
            note(f"{name} is no longer in {self.targets.name}: removed {len(removed)} files (the store keeps them)")

    def end(self, *, all_fresh: bool, said: str) -> None:
        """A run ended. When every task of the matrix is fresh, the next plain `doit` may take the short way out."""
        for worker in self._workers.values():
            worker.close()
        self._memo.save()
        self._ledger.close()
        self._store.close()
        if all_fresh:
            snapshot.save(str(self.targets), said, self.watched())
        self._lock.release()

    def watched(self) -> Iterator[str]:
        """Every file and directory whose change could make a task stale."""
        yield from (str(path) for path in (self.targets, self.lock_path) if path.exists())
        yield from (str(path) for path in PACKAGE.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__")
        for name in sorted({tool for action in self.engine.actions.values() for tool in action.tools}):
            yield from map(str, self._finder.watch_paths(name))
        yield from self.engine.paths()

    def _worker(self, toolchain: str) -> Worker:
        from .run.worker import ForkWorker  # noqa: PLC0415

        with _GUARD:
            if toolchain not in self._workers:
                self._workers[toolchain] = ForkWorker(preload=["tvm"], path=[PACKAGE.parent])
            return self._workers[toolchain]

    def _pin(self, action: Action, lock: Json) -> None:
        """Write down what a model's weights turned out to be, so that every later run gets the same."""
        from .weights.lock import write_lock_entry  # noqa: PLC0415

        write_lock_entry(self.lock_path, action.subject, lock)
        self.note(f"{action.subject}: its weights are now pinned in {self.lock_path.name}; commit that file")


_GUARD = threading.Lock()
_current: list[Session] = []


def current() -> Session:
    """The session of this process, opened on first use.

    Raises:
        SlipwayError: the matrix, its lock file or the store cannot be used.
    """
    if not _current:
        _current.append(Session(Path(snapshot.targets_path(sys.argv[1:])), OPTIONS))
    return _current[0]
