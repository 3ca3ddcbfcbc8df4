"""One doit per tree: the one that builds holds the lock; a second one waits or stops, and says who holds it.

The session takes it around a run. The lock is the kernel's (flock): it is gone the moment its owner is, however that
died. The file beside it names the owner, for messages only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import settings
from pipeline.errors import StoreError
from pipeline.files import read_file, write_atomic

from .os_errors import store_error

POLL = 0.1
"""Seconds between two looks."""

PATIENCE = 3600 * 24.0
"""Seconds after which even a waiting doit gives up."""


class TreeLock:
    """The right to build in a tree, by a lock file: beside `build/lock`, `build/lock.owner` is written.

    By default another owner is waited for unless SLIPWAY_WAIT is 0. `say` shows a line to the user at once; by default
    on stderr.
    """

    def __init__(
        self,
        path: Path,
        *,
        wait: bool | None = None,
        say: Callable[[str], None] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.path = path
        self._wait = settings.flag("SLIPWAY_WAIT", environ, default=True) if wait is None else wait
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - the user is waiting
        self._owner = path.with_name(path.name + ".owner")
        self._held: int | None = None

    def acquire(self) -> None:
        """Take the lock. Somebody else may have had it meanwhile: what is known of the tree must be read again.

        Raises:
            StoreError: another doit has it and we are not to wait, or the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            held = self._try()
            if held is None:
                self._decline_or_announce()
                held = self._wait_for_it()
        except OSError as error:
            if error.errno == errno.EROFS:
                return  # nobody can change anything there, and what is fresh needs no change
            raise store_error(error, "lock the tree", self.path) from error
        self._held = held
        self._sign()

    def release(self) -> None:
        """Let the next one build. Releasing twice is no error."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._owner.unlink()
            os.close(self._held)
            self._held = None

    def _try(self) -> int | None:
        """Take the lock if it is free; gives the descriptor that holds it."""
        descriptor = open_lock(self.path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # somebody has it, or somebody has removed the file, and may have another one by now
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _wait_for_it(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while (held := self._try()) is None:
            if time.monotonic() > deadline:
                raise StoreError(
                    f"{self._who()} is still building here", where=self.path, hint="end it, then run doit again"
                )
            time.sleep(POLL)
        return held

    def _decline_or_announce(self) -> None:
        if not self._wait:
            raise StoreError(
                f"{self._who()} is building here",
                where=self.path,
                hint="wait for it to end, or run without SLIPWAY_WAIT=0",
            )
        self._say(f"{self._who()} is building here; waiting")

    def _who(self) -> str:
        """The owner, as far as its note can be read: it may be half-written, or left by one that was killed."""
        try:
            note = json.loads(read_file(self._owner))
            started = time.strftime("%H:%M:%S", time.localtime(float(note["started"])))
            return f"another doit (pid {int(note['pid'])}, started {started})"
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return "another doit"

    def _sign(self) -> None:
        # Not in the lock file itself: those who wait may truncate it.
        with contextlib.suppress(OSError):
            write_atomic(self._owner, json.dumps({"pid": os.getpid(), "started": time.time()}))


def open_lock(path: str | Path, flags: int) -> int:
    """A descriptor of a lock file. What is no regular file is not waited for, and a link is not followed.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return descriptor


def is_alone(lock: int) -> bool:
    """Whether nobody else holds a lock file; then it is ours alone, until it is shared again."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
