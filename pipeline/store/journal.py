# ruff: noqa: PTH103, PTH105, PTH108, PTH116, PTH118, PTH120, PTH123
# Paths are strings in here: this is called for every file, and pathlib costs more than the work.
r"""A file that only grows, one checked line at a time; `records` and the `ledger` are made of it.

A line is `<crc32 of the payload, 8 hex digits> <payload>\n`, written by a single write(2) to a descriptor in append
mode while flock(2) is held. So a process may be killed at any moment and any number may append at once. What survives
a torn line:

* a tail without its newline is not read, and the next writer closes it first, so that nothing is glued to it;
* a line whose checksum is wrong is skipped: the reader decides what that means;
* a short write (disk full) is cut off again before the lock is let go.

`rewrite` replaces the file by a shorter one (rename under the lock); writers notice by the inode and follow. The
directory may be deleted while we run: the next line makes it anew.

Chosen by measurement (ext4, one 1.5 kB record per action): 6 us per line here, 26 us for a file per record and
rename, 37 us for a commit of SQLite in WAL mode without synchronisation. This module does not know what the payloads
mean.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import zlib
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from . import bookmark
from .os_errors import store_error

HEAD = 9
"""Bytes before the payload."""

WORTHWHILE = 1 << 18
"""Bytes that one may read rather than keep a bookmark."""

CHUNK = 1 << 20
"""Bytes read at a time, so that a long file does not have to fit in memory."""


def seal(payload: bytes) -> bytes:
    """The line that carries a payload. A payload has no newline in it."""
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def unseal(line: bytes) -> bytes | None:
    """The payload of a line, or None when it is damaged."""
    payload = line[HEAD:-1]
    return payload if line == seal(payload) else None


class Journal:
    """One such file. Methods may be called from any thread.

    Args:
        path: the file; it and its directory are made when the first line is written.
        read_only: `append` and `rewrite` are not going to be called.
        what: a line of it, for messages: `a record`.
    """

    def __init__(self, path: str, *, read_only: bool = False, what: str = "") -> None:
        self.path = path
        self._what = f" {what}" if what else ""
        folder, name = os.path.split(path)
        self._bookmark = os.path.join(folder, f".{name}.seen")
        self._read_only = read_only
        self._fd = -1
        self._writable = False
        self._void = True
        self._inode = 0
        self._clean_end = -1
        self._seen = 0
        self._marked = 0
        self._lock = threading.RLock()

    def scan(self, take: Callable[[int, bytes], None], reset: Callable[[], None]) -> None:
        """Read the lines that were added since the last call, by anyone.

        Args:
            take: called with the offset and the (unchecked) line, in the order of the file.
            reset: called first when everything known before is void: the file was replaced, shortened or deleted. It
                may call `resume`.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._lock:
            try:
                size = self._follow()
                if self._void or size < self._seen:
                    self._seen, self._marked, self._void = 0, 0, False
                    reset()
                if size == self._seen or self._fd < 0:
                    return
                data = bytearray(min(CHUNK, size - self._seen + 1))  # one for all: new memory takes longer than reading
                rest = 0
                while count := os.preadv(self._fd, [memoryview(data)[rest:]], self._seen + rest):
                    start, filled = 0, rest + count
                    while (end := data.find(b"\n", start, filled) + 1) > 0:
                        take(self._seen, bytes(memoryview(data)[start:end]))
                        self._seen += end - start
                        start = end
                    rest = filled - start
                    data[:rest] = data[start:filled]
                    if rest == len(data):
                        data += bytes(CHUNK)
            except OSError as error:
                raise store_error(error, f"read{self._what}", self.path) from error

    def resume(self) -> Any:
        """What was known when the file was last closed, if `bookmark` was called then: only the rest will be scanned.

        For `reset` to call. None where there is no bookmark that fits.
        """
        if self._fd < 0:
            return None
        found = bookmark.get(self._bookmark, self._fd, os.fstat(self._fd).st_size)
        if found is None:
            return None
        self._seen, state = found
        self._marked = self._seen
        return state

    def bookmark(self, state: Callable[[], Any]) -> None:
        """Before `close`: write down what is known, if there is much in the file that was not known the last time.

        Args:
            state: says it, as something that `marshal` can carry.
        """
        with self._lock:
            new = self._seen - self._marked
            if new > max(WORTHWHILE, self._seen // 8) and self._fd >= 0 and self._writable:
                bookmark.put(self._bookmark, self._fd, self._seen, state())

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a line that `scan` or `append` told of; fewer when the file has changed since."""
        with self._lock:
            if self._fd < 0:
                return b""
            try:
                return _read(self._fd, offset, length)
            except OSError as error:
                raise store_error(error, f"read{self._what}", self.path) from error

    def append(self, payload: bytes) -> tuple[int, int]:
        """Add a line; when this returns, it survives the death of this process.

        Returns:
            Offset and length of the line.

        Raises:
            StoreError: it could not be written (and then nothing was).
        """
        return self.extend([payload])[0]

    def extend(self, payloads: Iterable[bytes]) -> list[tuple[int, int]]:
        """Add lines, all of them at once; see `append`."""
        lines = [seal(payload) for payload in payloads]
        with self._lock:
            try:
                size = start = self._acquire()
                try:
                    data = b"".join(lines)
                    if size and size != self._clean_end and os.pread(self._fd, 1, size - 1) != b"\n":
                        data = b"\n" + data
                        start += 1
                    self._write(data, size)
                    # Lines of others that came in between are still to be scanned.
                    if self._seen == size:
                        self._seen = size + len(data)
                    self._clean_end = size + len(data)
                finally:
                    self._release()
            except OSError as error:
                raise store_error(error, f"write{self._what}", self.path) from error
        lengths = [len(line) for line in lines]
        return list(zip(accumulate(lengths, initial=start), lengths, strict=False))

    def rewrite(self, payloads: Callable[[], Iterable[bytes]]) -> None:
        """Replace the whole content, atomically. The next `scan` begins with a reset.

        Args:
            payloads: called while the file is locked; should `scan` first, so that no line of another process is lost.

        Raises:
            StoreError: it could not be written (and then the old content stays).
        """
        temporary = f"{self.path}.{os.getpid()}"
        with self._lock:
            try:
                self._acquire()
                try:
                    with open(temporary, "wb") as file:
                        file.writelines(map(seal, payloads()))
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(temporary, self.path)
                finally:
                    self._release()
                self._open()
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise store_error(error, f"rewrite{self._what}", self.path) from error

    def sync(self) -> None:
        """Make what was appended survive a power cut as well."""
        with self._lock:
            if self._fd >= 0 and self._writable:
                try:
                    os.fsync(self._fd)
                except OSError as error:
                    raise store_error(error, f"write{self._what}", self.path) from error

    def size(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def close(self) -> None:
        """Let the descriptor go. Using the journal again opens it again."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd, self._writable, self._inode, self._seen, self._clean_end = -1, False, 0, 0, -1

    def reopen(self) -> None:
        """After a fork: have a descriptor of our own, for a lock belongs to a descriptor and not to a process."""
        with self._lock:
            if self._fd < 0:
                return
            flags = os.O_RDWR | os.O_APPEND if self._writable else os.O_RDONLY
            try:
                own = os.open(self.path, flags)
            except OSError:
                self.close()
                return
            os.dup2(own, self._fd, inheritable=False)
            os.close(own)
            self._void = os.fstat(self._fd).st_ino != self._inode

    def _follow(self) -> int:
        """Make sure that our descriptor is the file of that name, and return its size."""
        try:
            state = os.stat(self.path)
        except FileNotFoundError:
            if self._fd >= 0:
                self.close()
                self._void = True
            return 0
        if state.st_ino != self._inode or self._fd < 0:
            self._open()
        return state.st_size

    def _open(self, *, create: bool = False) -> None:
        self.close()
        self._void = True  # what is known of offsets belongs to another file
        writable = not self._read_only
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND if writable else os.O_RDONLY)
        except FileNotFoundError:
            if not create:
                return
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError:
            if create:
                raise
            fd = os.open(self.path, os.O_RDONLY)  # whoever may not write may still read: hits need no more
            writable = False
        self._fd, self._writable = fd, writable
        self._inode = os.fstat(self._fd).st_ino

    def _acquire(self) -> int:
        """Take the file's lock; return its size. The lock of a dead process is gone with it."""
        while True:
            if not self._writable:
                self._open(create=True)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                state = os.stat(self.path)
                if state.st_ino == self._inode:
                    return state.st_size
            except FileNotFoundError:
                pass
            self.close()

    def _release(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is closed: then the lock is gone as well
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write(self, data: bytes, size: int) -> None:
        written = 0
        try:
            written = os.write(self._fd, data)
        finally:
            if written < len(data):
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, size)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read(fd: int, offset: int, length: int) -> bytes:
    """All bytes there are, up to `length`: one pread(2) gives at most 2 GiB."""
    parts = []
    while length > 0:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
