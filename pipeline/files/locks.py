"""What processes of a machine have for themselves: a lock while something is made, and a folder that goes with them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline import settings

from . import sha256_bytes

SHORT = Path("/tmp")  # noqa: S108 - Chromium's sockets need a path below 60 characters or so, wherever the project is
"""Where there is room for paths of sockets."""


def user_cache() -> Path:
    """What this user's processes share: `SLIPWAY_CACHE`, or the platform's place for caches."""
    if chosen := settings.text("SLIPWAY_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs  # noqa: PLC0415 (most commands never come here)

    return platformdirs.user_cache_path("slipway")


@contextmanager
def alone(cache: Path, what: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold off other processes with this cache that want to do the same thing until the block ends; see `locked`."""
    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{sha256_bytes(what.encode())[:32]}.lock", waiting):
        yield


@contextmanager
def locked(path: str | Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Wait for the lock, and have it until the block ends. The file stays; a process that dies lets go of it.

    `waiting` is called once where somebody else has it, to say so.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - planning does not need it

    lock = FileLock(path)
    with ExitStack() as held:
        try:
            held.enter_context(lock.acquire(blocking=waiting is None))
        except Timeout:
            if waiting is not None:
                waiting()
            held.enter_context(lock)
        yield


@contextmanager
def own_folder(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A new directory, gone afterwards. Those with this prefix that killed processes have left there are removed.

    Its process holds the kernel's lock on it; on a file system without such locks nobody removes it but its process.

    Raises:
        OSError: it cannot be made.
    """
    for old in parent.glob(f"{prefix}*"):
        with suppress(OSError), _locked(old, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(old, ignore_errors=True)
    with ExitStack() as held:
        folder = None
        while folder is None or not folder.is_dir():  # somebody took it for one that was left, before it was locked
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            with suppress(OSError):
                held.enter_context(_locked(folder, fcntl.LOCK_EX))
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
