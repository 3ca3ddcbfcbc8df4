"""One doit process over one project: the engine put together, a run begun and ended, the no-op stamp written.

Opened once, by the first of doit's tasks, its database, the reporter or a command that asks for `current()`.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from doit.exceptions import InvalidDodoFile

from pipeline import settings
from pipeline.action import SCRATCH, AnyAction
from pipeline.engine.ahead import look_ahead
from pipeline.engine.cleaning import prune
from pipeline.engine.code import code_digest, folder
from pipeline.engine.engine import Engine
from pipeline.engine.executor import Executor, Tools, gather
from pipeline.engine.inputs import Inputs
from pipeline.engine.memory import Admission, available, processors
from pipeline.engine.options import Options
from pipeline.errors import SlipwayError, StoreError
from pipeline.files import State, is_settled, look
from pipeline.project import Planner, Project
from pipeline.store.action_result import LINK
from pipeline.store.directories import sweep
from pipeline.store.locks import TreeLock
from pipeline.store.os_errors import store_error
from pipeline.store.outputs import is_intact
from pipeline.store.remote import Remote
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.tree import demand_no_links, states
from pipeline.store.workspace import Workspace
from pipeline.tools.finder import Finder
from pipeline.worker.pool import ToolchainWorkers

from . import noop
from .options import options

PACKAGE = Path(__file__).resolve().parent.parent

CHECKOUT = "checkout:"
"""Before the name of sources that are built (see `tools.native`)."""

GARBAGE = 50_000
"""Objects made between two looks for garbage: nearly all that a run makes stays to its end."""

log = logging.getLogger(__name__)


class Session:
    """A project with everything that builds it.

    Attributes:     running: whether tasks are run, and not just asked about.
    """

    def __init__(self, targets: Path, options: Options, planner: Planner = Project.plan) -> None:
        """Plan; nothing is built, locked or written yet.

        Raises:
            SlipwayError: the matrix, its lock file or the store cannot be used.
        """
        self._looked = time.time_ns()
        self.project = project = Project(targets, self.note)
        self.targets = targets
        self.root = targets.parent
        self.running = False
        self._options = options
        self._planner = planner
        self._notes: list[str] = []
        self._pinning = threading.Lock()
        self._show: Callable[[str], None] | None = None
        for slip in settings.slips():
            self.note(slip)
        build = self.root / "build"
        self.finder = Finder(build / "tools", project.environment, project.checkout)
        self._stat_cache = StatCache(build / "stat-cache")
        self._workspace = Workspace(build / f"workspace-{targets.name}", self.note)
        self._lock = TreeLock(build / "lock", say=self.note)
        remote = Remote.from_environment(self.note)
        self._store = Store(store_folder(self.root), remote, scratch=project.root / SCRATCH, note=self.note)
        # With a cluster most threads wait for it: as many work here as would without one.
        admission = Admission(available(), processors() if options.on else None)
        self.worker = ToolchainWorkers(project.root, project.environment, self.note, admission.room)
        self._states = _states([str(targets), str(project.lock_path)])
        actions = self._plan()
        self._states |= _states(_code_files(planner, {one.module.rpartition(".")[0] for one in actions.values()}))
        self._tools = Tools(self.finder.find)
        self.engine = Engine(
            project.root,
            inputs=Inputs(
                project.root,
                actions,
                workspace=self._workspace,
                stat_cache=self._stat_cache,
                tools=self._tools,
                code=code_digest,
            ),
            store=self._store,
            workspace=self._workspace,
            stat_cache=self._stat_cache,
            executor=Executor(project.root, self._tools, self.worker, admission, options),
            pin=self._pin,
            options=options,
        )
        if options.on:
            from pipeline.cluster.sender import join  # noqa: PLC0415 - only who has a cluster pays for it

            self.engine.elsewhere = join(options.on, self.engine, project, self.note)

    def _pin(self, action: AnyAction, lock: object) -> None:
        """Write down what an action found out. Records of apps name the commit of weights: they are planned anew."""
        with self._pinning:
            self.note(self.project.pin(action, lock))
            if action.step == "weights" and any(one.step == "app_config" for one in self.engine.actions.values()):
                self._replan()

    def note(self, text: str) -> None:
        """Something worth a line: kept until a run or a command is there to show it."""
        if self._show is None:
            self._notes.append(text)
        else:
            self._show(text)

    def show_notes(self, show: Callable[[str], None]) -> None:
        """Have notes shown from now on, those kept so far first."""
        self._show = show
        for text in self._notes:
            show(text)

    def begin(self, note: Callable[[str], None], names: Collection[str] = ()) -> None:
        """A run of the named tasks starts: wait for the tree, clear what killed runs left, drop what the matrix lost.

        Raises:
            StoreError: another doit builds here and we are not to wait.
        """
        self.show_notes(note)
        self.alone()
        self.running = True
        self.project.carry_pins()
        try:
            noop.drop(str(self.targets))
            self.engine.executor.clear()
            gather(self.project.root)
        except OSError as error:
            if error.errno != errno.EROFS:  # there, what is fresh needs no more
                raise store_error(error, "begin a run", error.filename) from error
        self._store.hold(create=False)
        sweep(self.root / "build", noop.path_of(str(self.targets)).parent)
        self._states |= _states(self.engine.inputs.all_files())
        for name, removed in prune(self.engine):
            files = f"{len(removed)} file{'s' * (len(removed) != 1)}"
            note(f"{name} is no longer in {self.targets.name}: removed {files} (the store keeps them)")
        if not self._options.always:
            look_ahead(self.engine, names)

    def alone(self) -> None:
        """Be the only one who writes to this tree, until the process ends: a run, or a command like `clean`.

        Raises:
            StoreError: another doit builds here and we are not to wait, or a link leads out of the tree.
        """
        demand_no_links(self.root, states(self.root))
        self._lock.acquire()
        self._workspace.refresh()  # another doit may have ended between our look at the tree and our lock
        self._plan_again()
        self.engine.reconsider()

    def end(self, *, all_fresh: bool, said: str, interrupted: bool = False) -> None:
        """A run ended. When every task of the matrix is up to date, the next plain `doit` may stop at the stamp.

        An interrupted process is about to die with threads in the middle of actions: uploads are not waited for, and
        the kernel releases the locks.
        """
        self.worker.close()
        if self.engine.elsewhere is not None and not interrupted:
            self.engine.elsewhere.close()
        if not self.running:  # it did not come to be: the tree may be another's
            return
        if interrupted:
            self._stat_cache.save()
            return
        self.engine.executor.clear()
        self._workspace.close()
        if all_fresh and not self._options.are_special:
            self._stamp(said)
        self._stat_cache.save()
        self._store.close()
        self._lock.release()

    def _plan(self) -> dict[str, AnyAction]:
        return {action.name: action for action in self._planner(self.project)}

    def _plan_again(self) -> None:
        """Take over what another doit has pinned since we planned: the same actions, of which some know more now."""
        lock = str(self.project.lock_path)
        if look(lock) == self._states[lock]:
            return
        self._states |= _states([lock])
        self.project.forget()
        self._replan()

    def _replan(self) -> None:
        planned = self._plan()
        if planned.keys() == self.engine.actions.keys():
            self.engine.inputs.replan(planned)

    def _stamp(self, said: str) -> None:
        """Write the no-op stamp, if what it would say is certain.

        A file that changed while we ran, or so shortly before that the clock could not tell, is in no stamp: then the
        next run looks at contents. The workspace file is in it, where `doit forget` says what it has to say.
        """
        states = {path: look(path) for path in self._workspace.files}
        looked = self._states | self.project.states
        if not (self._watch_tools(looked) and self._watch_folders(states)):
            return
        for path, before in looked.items():
            if look(path) != before or not is_settled(before, self._looked):
                log.debug("no stamp: %s changed while the run went on", path)
                return
            states[path] = before
        for path, output in self.engine.outputs():
            state = look(path)
            if output.mode != LINK and self._stat_cache.known(path, state) != output.sha256:
                # A further hard link to a blob changes the ctime of all of them: compare once more.
                entry_ok = is_intact(path, output, self._stat_cache, self._store.blobs)
                state = look(path)
                if not entry_ok or self._stat_cache.known(path, state) != output.sha256:
                    log.debug("no stamp: %s changed just now", path)
                    return
            states[path] = state
        noop.save(str(self.targets), said, states)

    def _watch_folders(self, states: dict[str, State]) -> bool:
        """Look at the folders in which a recipe's modules are looked for; say whether they have none that is new."""
        folders = _states(self.engine.inputs.folders())
        if not all(is_settled(state, time.time_ns()) for state in folders.values()):
            return False
        states |= folders
        return self._states.keys() >= set(self.engine.inputs.all_files())

    def _watch_tools(self, states: dict[str, State]) -> bool:
        """Look at the files that decide what the tools are; say whether checkouts still are what was found.

        Programs hardly change while we run, but a checkout that is built may have been edited since its digest was
        taken. Hence files first, then the digest again: a later edit changes a state, an earlier one the digest.
        """
        for name in sorted({tool for action in self.engine.actions.values() for tool in action.tools}):
            for path in map(str, self.finder.watch_paths(name)):
                states.setdefault(path, look(path))
        checkouts = {name: tool for name, tool in self._tools.found.items() if name.startswith(CHECKOUT)}
        return all(self.finder.find(name) == tool for name, tool in checkouts.items())


def store_folder(root: Path) -> Path:
    """Where the store is.

    Raises:
        StoreError: SLIPWAY_STORE names a place among the outputs, which are cleared.
    """
    own = root / "build" / "store"
    given = settings.text("SLIPWAY_STORE")
    if not given:
        return own
    folder = Path(given)
    place = folder.resolve()
    for taken in (root / "build", root / "dist"):
        if taken.resolve() in {place, *place.parents} and own.resolve() not in {place, *place.parents}:
            raise StoreError(
                f"SLIPWAY_STORE names a place in {taken.name}/, where outputs are put and cleared away",
                where=given,
                hint="name a directory outside of the tree, or leave SLIPWAY_STORE out: build/store is the default",
            )
    return folder


def _code_files(planner: Planner, packages: Iterable[str]) -> Iterator[str]:
    """Our own code, the dodo.py, doit's configuration, and the code of a project with a graph of its own.

    A file more in a folder is no change: one that is there would have to name it.
    """
    yield from (str(Path(name).absolute()) for name in ("dodo.py", "doit.cfg", "pyproject.toml"))
    if file := getattr(sys.modules.get(planner.__module__), "__file__", None):
        yield file
    for home in {PACKAGE, *(folder(package) or PACKAGE for package in packages)}:
        for inner, folders, files in os.walk(home, followlinks=True):  # templates are behind a link in a checkout
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (f"{inner}/{name}" for name in files)


def _states(paths: Iterable[str]) -> dict[str, State]:
    return {path: look(path) for path in paths}


_current: Session | None = None


def current() -> Session:
    """The session of this process, opened on first use.

    Raises:
        SlipwayError: the matrix, its lock file or the store cannot be used.
    """
    return _current or _open(Project.plan)


def use(planner: Planner) -> Session:
    """Open the session of this process: for a dodo.py with a graph of its own, which calls it with its own planner.

    Raises:
        InvalidDodoFile: see `current`; doit prints its text.
    """
    try:
        return _open(planner)
    except SlipwayError as error:
        raise InvalidDodoFile(str(error)) from error


def _open(planner: Planner) -> Session:
    global _current  # noqa: PLW0603 - doit's database, reporter and tasks have no other way to meet
    gc.set_threshold(GARBAGE)
    settings.check()
    _current = Session(Path(noop.targets_path(sys.argv[1:])), options(), planner)
    return _current
