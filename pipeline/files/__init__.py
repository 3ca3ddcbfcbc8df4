"""Files: their state and digest, read without waiting, written atomically; everything above uses it.

A file appears under its name complete: a temporary name, then a rename. Temporary names are random, since two
containers that share a directory may have the same process IDs.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import time
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

CHUNK_BYTES = 1 << 20

TEMPORARY = ".slipway-tmp"
"""How temporary names end."""

TRY_BESIDE = {errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM}
"""What a temporary file elsewhere may run into that one in the target's own directory does not."""

# States

State = tuple[int, int, int, int]
"""Size, mtime (ns), inode, ctime (ns): while all four are the same, so is the content, once it `is_settled`."""

MISSING: State = (-1, 0, 0, 0)
"""The state of a file that is not there."""

Written = tuple[int, int, int]
"""Size, mtime (ns) and inode of a file: what a write changes. A further link changes the ctime, and nothing else."""

RACY_NS = 20_000_000
"""A file could be written again within this time and keep its times: the file system's clock ticks every 4 to 10 ms."""

COARSE_NS = 2_000_000_000 + RACY_NS
"""The same where times are kept in whole seconds (ext2, ext3, ext4 with small inodes), or in every other (FAT)."""


AHEAD_NS = 600_000_000_000
"""A time so far ahead is of a clock that was wrong: no write gives it now. A file server may be some seconds ahead."""


def look(path: str | os.PathLike[str]) -> State:
    """The state of a file, links followed; `MISSING` where it is not there."""
    try:
        return state_of(os.stat(path))
    except OSError:
        return MISSING


def state_of(found: os.stat_result) -> State:
    """The part of a stat result that tells whether a file was written."""
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def written(state: State) -> Written:
    """The part of a state that only a write changes."""
    return state[:3]


def is_settled(state: State, when: int) -> bool:
    """Whether a file that was in this state at `when` (ns) would be in another if it had been written since."""
    return state[3] + _tick(state[3]) < when or state[3] > when + AHEAD_NS


def is_stamped(state: State, when: int) -> bool:
    """Whether that holds of a file of ours that got its `stamp` before, also where that is rounded."""
    return bool(state[1] % 1_000_000) or state[1] + _tick(state[1]) < when


def _tick(time_ns: int) -> int:
    """How far the clock may go while a file system gives this time to what is written."""
    return RACY_NS if time_ns % 1_000_000_000 else COARSE_NS


def stamp(target: int | str | Path) -> None:
    """Give a file of ours an mtime that no other write can leave: now, to the nanosecond.

    Any later write puts a tick of the kernel's coarse clock in its place, so the state of the file can be trusted at
    once, if the file system keeps nanoseconds: see `is_stamped`.
    """
    now = time.time_ns()
    os.utime(target, ns=(now, now))


# Reading


class NotRegularError(OSError):
    """A pipe, a device or a socket is where a file should be."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.EINVAL, "it is not a regular file", os.fspath(path))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file to read from, unbuffered: nothing waits for a pipe, and no device is read without end.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    file = open(os.open(path, flags), "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise NotRegularError(path)


def read_file(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """The whole content of a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than `limit` bytes.
    """
    with open_regular(path) as file:
        if limit is not None and os.fstat(file.fileno()).st_size > limit:
            raise OSError(errno.EINVAL, f"it is larger than {limit} bytes", os.fspath(path))
        return file.read()


# Digests


class Digest(NamedTuple):
    """SHA-256 in lower-case hex, and size in bytes, of a content."""

    sha256: str
    size: int


def is_sha256(text: str) -> bool:
    """Whether it is written as SHA-256 is here: 64 digits of lower-case hex."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def sha256_bytes(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def fed(state: hashlib._Hash, file: IO[bytes]) -> hashlib._Hash:
    """A hash that has taken in what is left to read of a binary file."""
    while block := file.read(CHUNK_BYTES):
        state.update(block)
    return state


def sha256_file(file: IO[bytes]) -> str:
    """SHA-256 of what is left to read of a binary file."""
    return fed(hashlib.sha256(), file).hexdigest()


def hash_path(path: str | Path, kind: str = "sha256") -> str:
    """The hash of a file's content; by another algorithm (`md5`, `sha1`) only for formats that have it so.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return fed(hashlib.new(kind, usedforsecurity=False), file).hexdigest()


def digest_path(path: str | Path) -> Digest:
    """Digest of a file's content, which is read once.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return Digest(sha256_file(file), file.tell())


def copy_hashed(source: BinaryIO, target: BinaryIO) -> Digest:
    """Copy what is left to read of one file to another, hashing it on the way."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(CHUNK_BYTES):
        target.write(block)
        digest.update(block)
        size += len(block)
    return Digest(digest.hexdigest(), size)


def temporary_in(folder: str | Path) -> str:
    """An unused name in a directory, unique across processes, containers and machines."""
    return f"{folder}/{os.urandom(8).hex()}{TEMPORARY}"


# Writing


def write_new(path: str, data: bytes, mode: int = 0o644, *, durable: bool = False) -> Written:
    """Make a new, stamped file (the umask applies) and its directory, and return how it was left; nothing on failure.

    The path must not exist. With `durable` it is on the disk then.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, mode)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        fd = os.open(path, flags, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            stamp(fd)
            left = written(state_of(os.fstat(fd)))
            if durable:
                os.fsync(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return left


def write_atomic(
    path: str | Path,
    data: bytes | str,
    mode: int | None = 0o644,
    *,
    through: str | Path | None = None,
    durable: bool = False,
) -> Written:
    """Replace a file in one step, making its directory if need be, and return how it was left; text becomes UTF-8.

    The mode is less the umask; None keeps that of the file that is there. `through` is a directory for the temporary
    file, where a killed process leaves it in nobody's way; the file's own is used where that one cannot be. With
    `durable` the file is on the disk then, under its name.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    data = data.encode() if isinstance(data, str) else data
    try:
        return _write_and_rename(path, data, mode, temporary_in(through or folder), durable=durable)
    except OSError as error:
        if through is None or error.errno not in TRY_BESIDE:
            raise
        return _write_and_rename(path, data, mode, temporary_in(folder), durable=durable)


def _write_and_rename(path: str, data: bytes, mode: int | None, temporary: str, *, durable: bool) -> Written:
    left = write_new(temporary, data, 0o644 if mode is None else mode, durable=durable)
    try:
        if mode is None and os.path.exists(path):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    if durable:
        _sync_folder(os.path.dirname(path) or ".")
    return left


def _sync_folder(path: str) -> None:
    """Wait until the names in a directory are on the disk: a rename alone is lost with the power."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def rename(old: str, new: str) -> None:
    """Rename a file, making the directory it goes to if need be."""
    try:
        Path(old).replace(new)
    except FileNotFoundError:
        Path(new).parent.mkdir(parents=True, exist_ok=True)
        Path(old).replace(new)


def finish(path: str, mode: int) -> Written:
    """Give a file of ours its permissions and its stamp, and return how it was left: a later write is noticed."""
    os.chmod(path, mode)
    stamp(path)
    return written(look(path))
