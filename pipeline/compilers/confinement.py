"""Holds the code of a model to what the key names: its files, a fixed environment, no network.

`relax`, `parameters` and `session` run a recipe inside `confined`, in a child of the worker. This is no defence against
ill will (a recipe is trusted like a Makefile) but against an artifact that depends on what no key knows: Python's
audit events say what is imported and opened, and what is not declared is refused with the cure. A library's native
code raises no events; see docs/explanation/keys.md.
"""

from __future__ import annotations

import errno
import os
import pathlib
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.errors import StepError

from .declared import Declared
from .recipe_modules import Modules, SourceLoader

FIXED = {
    "LANG": "C",
    "LC_ALL": "C",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "TVM_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
"""Variables that every worker has: one order of sets, one encoding, one language everywhere; and no thread pools, which
a fork would cut off and which would compete with the other jobs."""

NOWHERE = "/nonexistent"
"""The home directory of a recipe, as Debian calls that of users who have none."""

ENVIRONMENT = {**FIXED, "HOME": NOWHERE, "PATH": "/usr/local/bin:/usr/bin:/bin"}
"""All variables that the code of a model sees."""

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/sys", "/dev", "/System", "/Library",
    "/nix/store", NOWHERE,
)  # fmt: skip
"""What belongs to the machine, like its C library."""

_WRAPPERS = frozenset(
    {"os", "posixpath", "genericpath", "pathlib", "glob", "shutil", "subprocess", "pty"}
    | {"asyncio", "concurrent", "contextlib", "multiprocessing", "selectors", "threading"}
)
"""Modules of Python's that wrap calls of the system: whoever calls them is who asks."""

_STARTING = frozenset({"multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver"})
"""What is imported each time another Python is started, for which there is no event."""


class Confinement:
    """What one model's code may do: read what is declared.

    `refused` is the first thing that was refused; code that catches everything has caught it, too.
    """

    def __init__(self, declared: Declared) -> None:
        self.source = Path(declared.source)
        self.refused: StepError | None = None
        home = str(self.source.parent)
        self.modules = Modules(declared.files, home, unwatched, self.may_read, self.refuse)
        self._files = declared.files
        self._mine = {str(Path.cwd()), home, tempfile.gettempdir(), "/dev/shm", f"/proc/{os.getpid()}/environ"}  # noqa: S108 - a place of the user's
        self._known = {*_machine()} - self._mine | {*declared.files, *_both(declared.data)}

    def may_read(self, path: str) -> bool:
        """Whether a file or directory (an absolute path) belongs to the machine, is declared, or was made here."""
        is_link_to_anything = path.startswith(("/proc/", "/dev/"))  # as /proc/self/cwd is
        return self._is_known(os.path.realpath(path)) or (not is_link_to_anything and self._is_known(path))

    def refuse(self, what: str, hint: str) -> StepError:
        """The error to raise; it comes up again when the code ends, whoever catches it."""
        error = StepError(what, where=self._line(), hint=hint)
        self.refused = self.refused or error
        return error

    def _is_known(self, path: str) -> bool:
        while True:
            if path in self._known:
                return True
            parent = os.path.dirname(path)  # noqa: PTH120 - for every file that is opened
            if path in self._mine or parent == path:
                return False
            path = parent

    def _line(self) -> str:
        """The line of the user's own code that is running."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - a traceback there is none yet
        while frame is not None and frame.f_code.co_filename not in self._files:
            frame = frame.f_back
        return str(self.source) if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"

    # Events

    def opened(self, path: object, mode: str | None, flags: int) -> None:
        """A file is about to be opened."""
        if isinstance(path, int) or (mode is None and _is_relative_to_descriptor()):
            return
        name = _absolute(path)
        if self._is_compiled(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)  # Python then compiles the source
        is_nameless = flags & getattr(os, "O_TMPFILE", 0) not in {0, os.O_DIRECTORY}
        is_code = "/<" in name and not os.path.lexists(name)  # `<string>`, of which Python quotes what is no Python
        if self.may_read(name) or is_nameless or is_code or (mode is not None and os.path.isdir(name)):  # noqa: PTH112
            return  # a folder can be opened as a file by `tempfile` only, which does something else with it
        if flags & os.O_CREAT and not os.path.lexists(name):
            self._known.add(name)
        else:
            raise self.refuse(f"it opens {name}, which is not in the key", f"name it in `reads`: {name}")

    def listed(self, path: object = None) -> None:
        """A directory is about to be listed. Those of the import system are looked at when a module is imported."""
        if isinstance(path, int):
            return
        name = _absolute(path or ".")
        if not self.may_read(name) and name not in map(_absolute, sys.path):
            raise self.refuse(f"it lists {name}, which is not in the key", f"name it in `reads`: {name}")

    def loaded(self, name: object) -> None:
        """A shared library is about to be loaded; one without a directory in its name is the system's."""
        if isinstance(name, str | bytes) and os.sep in os.fsdecode(name) and not self.may_read(_absolute(name)):
            raise self.refuse(f"it loads {os.fsdecode(name)}, which is not in the key", f"name it in `reads`: {name!r}")

    def imported(self, module: str, file: str | None, *_: object) -> None:
        """A module is about to be imported; of a compiled one there is a file."""
        self.loaded(file)
        if module in _STARTING:
            self.started("another Python")

    def made(self, path: object, *_: object) -> None:
        """A directory is about to be made: what will be in it is the code's own, unless it is there already."""
        name = _absolute(path)
        if not os.path.lexists(name):
            self._known.add(name)
        elif not self.may_read(name):
            self._mine.add(name)

    def renamed(self, old: object, new: object, *_: object) -> None:
        """A file is about to get another name."""
        if self.may_read(_absolute(old)):
            self._known.add(_absolute(new))

    def linked(self, old: str | bytes, new: str | bytes, *_: object) -> None:
        """A file is about to get one more name, which is one of the code's own."""
        name = _absolute(os.path.join(os.path.dirname(os.fsdecode(new)), os.fsdecode(old)))  # noqa: PTH118, PTH120 - as bytes
        if self._is_own() and not self.may_read(name) and not self.may_read(_absolute(old)):
            raise self.refuse(f"it links to {name}, which is not in the key", f"name it in `reads`: {name}")

    def connected(self, _socket: object, address: object, *_: object) -> None:
        """A connection is about to be made; one to another process of this machine has no host."""
        if isinstance(address, tuple):
            self.asked()

    def asked(self, *_: object) -> None:
        """The network is about to be used."""
        raise self.refuse("it uses the network, and what that answers is not in the key", "give the model `weights`")

    def started(self, program: object = "another process", *_: object) -> None:
        """A program is about to be started. What a library runs is the library's business."""
        if self._is_own():
            hint = "run it beforehand, and name what it writes in `reads`"
            raise self.refuse(f"it runs {program}, and what that reads is not in the key", hint)

    def looked_at(self, path: object) -> None:
        """The recipe looks whether there is something: that, too, is an answer that must be in the key."""
        if isinstance(path, int) or not self._is_own():
            return
        name = _absolute(path)
        if not self.may_read(name) and not self._leads_on(name):
            hint = f"name it, or the directory in which it may be one day, in `reads`: {name}"
            raise self.refuse(f"it looks for {name}, which is not in the key", hint)

    def _leads_on(self, path: str) -> bool:
        """Whether a directory is there in any case, since something that may be read, or made, is below it."""
        return path in self._mine or any(known.startswith(f"{path.rstrip('/')}/") for known in self._known)

    def _is_compiled(self, path: str) -> bool:
        """Whether it is what Python has made of a file of the key, or of anything else that is not the machine's."""
        if f"{os.sep}__pycache__{os.sep}" not in path:
            return False
        with suppress(ValueError):
            return source_from_cache(os.path.realpath(path)) in self._files or not self.may_read(path)
        return False

    def _is_own(self) -> bool:
        """Whether the model's own code asks, by way of nothing but wrappers; also in a thread, where that is all."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - an event does not say who caused it
        while frame is not None and (
            frame.f_code.co_filename == __file__ or str(frame.f_globals.get("__name__")).partition(".")[0] in _WRAPPERS
        ):
            frame = frame.f_back
        return frame is None or frame.f_code.co_filename in self._files


_EVENTS: dict[str, Callable[..., None]] = {
    "open": Confinement.opened,
    "sqlite3.connect": lambda scope, name: None if name in {":memory:", b":memory:"} else scope.opened(name, None, 0),
    "os.listdir": Confinement.listed,
    "os.scandir": Confinement.listed,
    "os.mkdir": Confinement.made,
    "os.rename": Confinement.renamed,
    **dict.fromkeys(("os.link", "os.symlink"), Confinement.linked),
    "import": Confinement.imported,
    "ctypes.dlopen": Confinement.loaded,
    **dict.fromkeys(("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"), Confinement.connected),
    **dict.fromkeys(
        ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"), Confinement.asked
    ),
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.spawn", "os.forkpty"), Confinement.started
    ),
}

_active: Confinement | None = None
_is_hooked = False


@contextmanager
def confined(declared: Declared) -> Iterator[Confinement]:
    """As long as the context lasts, this process reads nothing but what is declared and belongs to the machine.

    Raises:
        StepError: something else was wanted, even where the code went on without it.
    """
    global _active, _is_hooked  # noqa: PLW0603 - audit hooks belong to the process, and cannot be removed
    if not _is_hooked:
        sys.addaudithook(_audit)
        _is_hooked = True
    scope = Confinement(declared)
    variables, finders, bytecode = dict(os.environ), list(sys.meta_path), sys.dont_write_bytecode
    _set_environment(ENVIRONMENT)
    sys.meta_path.insert(0, scope.modules)
    sys.dont_write_bytecode = True
    for module in _STARTING & sys.modules.keys():
        del sys.modules[module]  # it is imported once more where it is used
    try:
        with _looks_watched():
            _active = scope
            yield scope
    except Exception as error:
        if scope.refused is not None and error is not scope.refused:
            raise scope.refused from error
        raise
    finally:
        _active = None
        sys.meta_path[:], sys.dont_write_bytecode = finders, bytecode
        _set_environment(variables)
    if scope.refused is not None:
        raise scope.refused


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _active is not None and event in _EVENTS:
        _ask(_EVENTS[event], *arguments)


def _ask(check: Callable[..., None], *arguments: object) -> None:
    scope = _active
    with unwatched():
        check(scope, *arguments)


@contextmanager
def unwatched() -> Iterator[None]:
    """What we do ourselves, in order to decide or to tell, is not watched."""
    global _active  # noqa: PLW0603 - see `confined`
    scope, _active = _active, None
    try:
        yield
    finally:
        _active = scope


@contextmanager
def _looks_watched() -> Iterator[None]:
    """`os.stat` raises no event, and says whether there is a file; so it is replaced where code finds it."""
    places = (os, getattr(pathlib, "_NormalAccessor", None))  # Python 3.10: a class that took its functions of os
    names = ("stat", "lstat", "access", "readlink")
    originals = [(place, name, getattr(place, name)) for place in places for name in names if hasattr(place, name)]

    def watched(original: Callable[..., object], path: object, *rest: object, **options: object) -> object:
        if _active is not None and options.get("dir_fd") is None:
            _ask(Confinement.looked_at, path)
        return original(path, *rest, **options)

    for place, name, original in originals:
        wrapped = partial(watched, original)
        setattr(place, name, staticmethod(wrapped) if isinstance(place, type) else wrapped)
    try:
        yield
    finally:
        for place, name, original in originals:
            setattr(place, name, staticmethod(original) if isinstance(place, type) else original)


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links are another question


def _is_relative_to_descriptor() -> bool:
    """Whether `shutil.rmtree` opens a directory in one that it has opened: the event does not say in which."""
    frame = sys._getframe(2)  # noqa: SLF001 - an event does not say who caused it
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame.f_globals.get("__name__") == "shutil"


def _machine() -> Iterator[str]:
    """Where the toolchain and the system keep their files, and all packages that are loaded already."""
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # of a worker: the toolchain's checkout, or nothing
    roots = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *site.getsitepackages(), *user, *given]
    for name, module in list(sys.modules.items()):
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if "." not in name and module is not None and not isinstance(loader, SourceLoader):
            roots += getattr(module, "__path__", None) or [getattr(module, "__file__", None) or ""]
    yield from (*_SYSTEM, *_both(filter(None, roots)))


def _both(paths: Iterable[str]) -> Iterator[str]:
    """Each path as it is, and with its links resolved."""
    for path in paths:
        yield from (os.path.abspath(path), os.path.realpath(path))  # noqa: PTH100 - links are another question
