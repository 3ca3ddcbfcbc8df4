"""Small dealings with files on this machine: their digest, safe relative paths, putting one in place cheaply.

Used by the modules beside it. It must not know where a file came from.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import StoreError

_BLOCK = 1 << 20
_FICLONE = 0x40049409
"""Linux's ioctl that makes one file share the blocks of another (btrfs, xfs): a copy that costs nothing."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size in bytes and SHA-256 in lower-case hex of a file's content."""

    size: int
    sha256: str


def digest_file(path: Path) -> FileDigest:
    """Read a file once and say what is in it."""
    state, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            state.update(block)
            size += len(block)
    return FileDigest(size, state.hexdigest())


def unsafe_path(path: str) -> str | None:
    """Why a relative path from outside (an archive, a server, a lock) must not be used, or None when it may.

    Backslashes and drive letters are refused on every system: an archive must mean the same everywhere.
    """
    if not path or "\0" in path:
        return "is empty or has a NUL character"
    if "\\" in path or ":" in path.split("/", 1)[0]:
        return "has a backslash or a drive letter"
    if path.startswith("/"):
        return "is absolute"
    if any(part in {"", ".", ".."} for part in path.split("/")) or str(PurePosixPath(path)) != path:
        return "leaves its directory or is not in its plain form"
    return None


def place(source: Path, target: Path, *, share: bool) -> None:
    """Put the content of a file at another path, as cheaply as is safe.

    A clone of the blocks where the file system can; else a hard link, only with `share` (a link would let an edit of
    the one change the other, so it is not for files that belong to the user); else a copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if _cloned(source, target):
        return
    if share:
        try:
            os.link(source, target)
        except OSError as problem:
            # Another file system, one without links, or the limit of links to a file: then a copy.
            if problem.errno not in {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES}:
                raise
        else:
            return
    shutil.copyfile(source, target)


def _cloned(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415 (not on Windows)

    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:  # most file systems cannot, and each says so with another number
            target.unlink()
            return False
    return True


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn what a full or closed disk says into a `StoreError` that names the place and the hint."""
    try:
        yield
    except OSError as problem:
        place_of = problem.filename or where
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreError(
                "no space left while writing weights",
                where=str(place_of),
                hint="free some space, or move the downloads: set SLIPWAY_CACHE to a directory on a larger disk",
            ) from problem
        if problem.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise StoreError(
                f"cannot be used: {problem.strerror}",
                where=str(place_of),
                hint="make it readable and writable, or set SLIPWAY_CACHE to a directory that is",
            ) from problem
        raise
