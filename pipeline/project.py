"""One doit process: which matrix, where, with which store; opened once, for the tasks, the reporter and the commands.

This is where the parts are put together; it decides nothing itself.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .action import Action, Json
from .doit_plugin import noop as snapshot
from .doit_plugin.options import OPTIONS, Options
from .errors import MatrixError

if TYPE_CHECKING:
    from .engine.engine import Engine
    from .matrix.cells import Matrix
    from .toolchains.environment import Environment

PACKAGE = Path(__file__).resolve().parent

CHECKOUT = "checkout:"
"""Before the name of sources that are built (see `run.native_tools`)."""


Planner = Callable[["Session"], Iterable[Action[Any]]]
"""Says what is to be built; `read_matrix`, unless a project has a graph of its own."""


def read_matrix(session: Session) -> Iterable[Action[Any]]:
    """The actions of the session's matrix file.

    Raises:
        MatrixError: the file is missing or wrong, or the lock beside it is.
    """
    from .plan import plan  # noqa: PLC0415 - pydantic and YAML are not for those who only changed a file
    from .plan.lockfile import read_lock  # noqa: PLC0415

    matrix = session.matrix
    lock = read_lock(session.lock_path)
    pins = {m.model: lock.entry_for(m.model, m.weights) for m in matrix.models if m.weights is not None}
    frozen = {toolchain.name: session.environment(toolchain.name).frozen for toolchain in matrix.toolchains}
    return plan(matrix, pins, frozen=frozen)


class Session:
    """A matrix file, its actions, and the tree beside it.

    Args:
        targets: the matrix file.
        options: what the command line asked for.
        found: what the snapshot said; see `snapshot` and `last_plan`.
        planner: see `Planner`.

    Attributes:
        running: whether tasks are run, and not just asked about.
        worker: the worker of a toolchain by its name; see `run.workers`.
    """

    def __init__(
        self,
        targets: Path,
        options: Options,
        *,
        found: snapshot.Comparison | None = None,
        planner: Planner = read_matrix,
    ) -> None:
        """Plan; nothing is built, locked or written yet.

        Raises:
            SlipwayError: the matrix, its lock file or the store cannot be used.
        """
        from .engine.engine import Engine  # noqa: PLC0415
        from .engine.executor import Executor, StepModules, Tools  # noqa: PLC0415
        from .engine.memory import Admission, available  # noqa: PLC0415
        from .engine.tools import Finder  # noqa: PLC0415
        from .store.locks import TreeLock  # noqa: PLC0415
        from .store.remote import Remote  # noqa: PLC0415
        from .store.stat_cache import StatCache  # noqa: PLC0415
        from .store.store import Store  # noqa: PLC0415
        from .store.workspace import Workspace  # noqa: PLC0415
        from .worker.pool import ToolchainWorkers  # noqa: PLC0415

        self.targets = targets
        self._planner = planner
        self.root = targets.parent
        self.lock_path = self.root / "slipway.lock"
        self.options = options
        self.running = False
        self._notes: list[str] = []
        self._show: Callable[[str], None] | None = None
        build = self.root / "build"
        self.finder = Finder(build / "tools.json", self.environment, self.checkout)
        self._stat_cache = StatCache(build / "digests")
        self._workspace_path = str(build / f"ledger-{targets.name}")
        self._workspace = Workspace(self._workspace_path, self.note)
        self._lock = TreeLock(build / "lock", say=self.note)
        self._store = Store(
            os.environ.get("SLIPWAY_STORE") or build / "store", Remote.from_environment(self.note), note=self.note
        )
        self.worker = ToolchainWorkers(self.root, self.environment, self.note)
        self._environments: dict[str, Environment] = {}
        self._states: dict[str, snapshot.State] = {}
        self.update = _update(str(targets), found)
        if self.update is None:
            self._states = dict(_states([str(targets), str(self.lock_path)]))
            actions: Mapping[str, Action[Any]] = {action.name: action for action in planner(self)}
            packages = {action.module.rpartition(".")[0] for action in actions.values()}
            self._states |= _states(_code_files(planner, packages))
            self._steps = StepModules()
        else:
            actions = self.update.plan
            self._steps = StepModules(self.update.plan.codes)
        tools = self._tools = Tools(self.finder.find)
        self.engine: Engine = Engine(
            self.root,
            actions,
            store=self._store,
            workspace=self._workspace,
            stat_cache=self._stat_cache,
            tools=tools,
            steps=self._steps,
            executor=Executor(str(self.root.absolute()), tools, self.worker, Admission(available())),
            versions={"python": sys.version.split()[0], "slipway": __version__},
            stale=frozenset(self.update.names) if self.update is not None else None,
            out_of=self.update.plan.out_of if self.update is not None else None,
        )
        self.engine.elsewhere = self.root.resolve() != Path.cwd()
        self.engine.always = options.always
        self.engine.store_only = options.store_only
        self.engine.strict = self.engine.executor.strict = options.strict
        self.engine.pin = self._pin

    @cached_property
    def matrix(self) -> Matrix:
        """The matrix file, read when somebody asks.

        Raises:
            MatrixError: it is missing or wrong.
        """
        from .matrix import load  # noqa: PLC0415
        from .plan.library_names import Place, config_of, named  # noqa: PLC0415
        from .plan.lockfile import read_lock  # noqa: PLC0415

        matrix = load(self.targets)
        root = matrix.root
        for path in filter(None, (config_of(model, root) for model in matrix.models)):
            self._states[path] = snapshot.look(path)
        return named(matrix, Place(root, self.lock_path, read_lock(self.lock_path), self.note))

    def environment(self, toolchain: str) -> Environment:
        """The Python environment of a toolchain, which need not have been made yet.

        Raises:
            MatrixError: the matrix file is wrong.
        """
        from .plan.lockfile import read_lock  # noqa: PLC0415
        from .toolchains.environment import Environment  # noqa: PLC0415
        from .toolchains.spec import spec  # noqa: PLC0415

        with _GUARD:
            if toolchain not in self._environments:
                asked = next(one for one in self.matrix.toolchains if one.name == toolchain)
                made = Environment(asked, self.root.absolute())
                pinned = read_lock(self.lock_path).frozen(toolchain, spec(asked), made.platform)
                frozen = None if pinned is None else tuple(pinned)
                self._environments[toolchain] = Environment(asked, self.root.absolute(), frozen)
            return self._environments[toolchain]

    def checkout(self, name: str) -> Path | None:
        """The directory of a checkout that is built; there is one, `runtime`, where targets.yaml says so.

        Raises:
            MatrixError: the matrix file is wrong.
        """
        runtime = self.matrix.runtime
        if name != "runtime" or runtime is None or runtime.source is None:
            return None
        return self.root.absolute() / runtime.source

    @property
    def names(self) -> Iterable[str]:
        """The actions that may be stale: all, unless the snapshot could tell."""
        return self.engine.actions if self.update is None else self.update.names

    def note(self, text: str) -> None:
        """Something worth a line: kept until a run is there to show it."""
        if self._show is None:
            self._notes.append(text)
        else:
            self._show(text)

    def send_notes(self, show: Callable[[str], None]) -> None:
        """Have notes shown from now on, in a copy of the process: the first one shows those from before."""
        self._show = show

    def show_notes(self, show: Callable[[str], None]) -> None:
        """Have notes shown from now on, those kept so far first."""
        self._show = show
        for text in self._notes:
            show(text)

    def begin(self, note: Callable[[str], None]) -> None:
        """A run starts: wait for the tree, clear what killed runs left, take away what the matrix no longer has.

        Raises:
            StoreError: another doit builds here and we are not to wait.
        """
        self.running = True
        self.show_notes(note)
        self._lock.acquire()
        self._workspace.refresh()  # another doit may have ended between our look at the tree and our lock
        self._plan_anew()
        self._certain = self.update is None or self.update.holds(str(self.targets))
        self.engine.reconsider(doubt=not self._certain)
        snapshot.drop(str(self.targets))
        self._clear()
        self._begun = time.time_ns()
        if self.update is None:
            from .engine.cleaning import prune  # noqa: PLC0415 - see `read_matrix`

            self._states |= _states(path for path, _ in self.engine.inputs())
            for name, removed in prune(self.engine):
                note(f"{name} is no longer in {self.targets.name}: removed {len(removed)} files (the store keeps them)")

    def _plan_anew(self) -> None:
        """Take over what another doit has pinned since we planned: the same actions, of which some know more now."""
        lock = str(self.lock_path)
        if self.update is not None or snapshot.look(lock) == self._states[lock]:
            return
        self._states |= _states([lock])
        self.__dict__.pop("matrix", None)
        self._environments.clear()
        planned = {action.name: action for action in self._planner(self)}
        if planned.keys() == self.engine.actions.keys():
            self.engine.actions = planned

    def _clear(self) -> None:
        """Remove what killed runs have left."""
        from .store.tempfiles import sweep  # noqa: PLC0415 - see `read_matrix`

        self.engine.executor.clear()
        build = str(self.root / "build")
        sweep(
            build, str(Path(snapshot.path_of(str(self.targets))).parent), self._store.root, f"{self._store.root}/part"
        )

    def end(self, *, all_fresh: bool, said: str, interrupted: bool = False) -> None:
        """A run ended. When every task of the matrix is fresh, the next plain `doit` may take the short way out.

        Where it was interrupted this process is about to die, some of its threads are still in the middle of an
        action, and nobody waits for uploads: the locks go with it and no sooner.
        """
        self.worker.close()
        if interrupted:
            self._stat_cache.save()
            return
        self._workspace.close()
        self.engine.forget_statuses()  # nobody will ask any more, and what comes now needs as much memory
        if all_fresh and self._certain and not self.options.are_special:
            self._remember(said)
        self._stat_cache.save()
        self._store.close()
        self._lock.release()

    def _remember(self, said: str) -> None:
        """Write snapshot and plan, if what they would say is certain.

        A file that changed while we ran, or so shortly before that the clock could not tell, is in no snapshot: then
        the next run looks at contents. The workspace is its first path: a run for the sake of some files
        believes it about all others, and `doit forget` says there what it has to say.
        """
        from .engine.settled import settled  # noqa: PLC0415

        if self.update is not None:
            names = self.update.names
            kept = self.update.refreshed(self.engine.inputs(names), settled(self.engine, names))
            if kept is not None:
                kept.states[: snapshot.FIELDS] = array("q", snapshot.look(self._workspace_path))
                snapshot.save(str(self.targets), kept)
            return
        owners: dict[str, list[str]] = {path: [] for path in (self._workspace_path, *self._states)}
        for path, name in self.engine.inputs():
            owners.setdefault(path, []).append(name)
        if not self._watch_tools(owners):
            return
        states = {self._workspace_path: snapshot.look(self._workspace_path)}
        for path, before in self._states.items():
            if snapshot.look(path) != before or snapshot.is_recent(before, self._begun):
                return
            states[path] = before
        for path, name, now in settled(self.engine):
            if now is None:
                return
            states[path] = now
            owners.setdefault(path, []).append(name)
        snapshot.save(str(self.targets), snapshot.of(said, states))

    def _watch_tools(self, owners: dict[str, list[str]]) -> bool:
        """Look at the files that decide what the tools are; say whether checkouts still are what was found.

        Programs hardly change while we run, but a checkout that is built may have been edited since its digest was
        taken. Hence files first, then the digest again: a later edit changes a state, an earlier one the digest.
        """
        for name in sorted({tool for action in self.engine.actions.values() for tool in action.tools}):
            for path in map(str, self.finder.watch_paths(name)):
                owners.setdefault(path, [])
                self._states.setdefault(path, snapshot.look(path))
        checkouts = {name: tool for name, tool in self._tools.found.items() if name.startswith(CHECKOUT)}
        return all(self.finder.find(name) == tool for name, tool in checkouts.items())

    def _pin(self, action: Action[Any], lock: Json) -> None:
        """Write down what weights or a toolchain turned out to be, so that every later run gets the same."""
        from .plan.lockfile import write_frozen, write_lock_entry  # noqa: PLC0415

        if action.step == "toolchain":
            platform = self.environment(action.subject).platform
            write_frozen(self.lock_path, action.subject, action.params["spec"], platform, lock)
            what = f"toolchain {action.subject}: its packages are"
        else:
            write_lock_entry(self.lock_path, action.subject, lock)
            what = f"{action.subject}: its weights are"
        self.note(f"{what} now pinned in {self.lock_path.name}; commit that file")


def _update(targets: str, found: snapshot.Comparison | None) -> Any | None:  # noqa: ARG001
    """What is to be looked at when only files have changed that actions read or wrote; None: everything."""
    return None


def _code_files(planner: Planner, packages: Iterable[str]) -> Iterator[str]:
    """Our own code, the dodo.py, doit's configuration, and the code of a project with a graph of its own.

    A file more in a folder is no change: one that is there would have to name it.
    """
    from .engine.code import folder  # noqa: PLC0415 - see `read_matrix`

    yield from (str(Path(name).absolute()) for name in ("dodo.py", "doit.cfg", "pyproject.toml"))
    if file := getattr(sys.modules.get(planner.__module__), "__file__", None):
        yield file
    for home in {PACKAGE, *(folder(package) or PACKAGE for package in packages)}:
        for inner, folders, files in os.walk(home):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (f"{inner}/{name}" for name in files)


def _states(paths: Iterable[str]) -> Iterator[tuple[str, snapshot.State]]:
    return ((path, snapshot.look(path)) for path in dict.fromkeys(paths))


_GUARD = threading.RLock()
_current: list[Session] = []


def current() -> Session:
    """The session of this process, opened on first use.

    Raises:
        SlipwayError: the matrix, its lock file or the store cannot be used.
    """
    if not _current:
        use(read_matrix)
    return _current[0]


def use(planner: Planner) -> None:
    """Open the session of this process; a dodo.py with a graph of its own calls it with its own planner.

    Raises:
        SlipwayError: see `current`.
    """
    _check_names(sys.argv[1:])
    found = snapshot.FOUND[0] if snapshot.FOUND else None
    targets = Path(snapshot.targets_path(sys.argv[1:]))
    _current[:] = [Session(targets, OPTIONS, found=found, planner=planner)]


def _check_names(arguments: Iterable[str]) -> None:
    """Refuse `targtes=other.yaml`, which doit would take for a setting of the project's own tasks."""
    names = {word.partition("=")[0] for word in arguments if "=" in word and not word.startswith("-")} - {"targets"}
    if names:
        import difflib  # noqa: PLC0415 - hardly ever

        for name in difflib.get_close_matches("targets", names, cutoff=0.75):
            raise MatrixError(f"there is no setting `{name}=`", hint="did you mean targets=PATH?")
