"""Operating system errors, told to people: what was being done, where, and what to do about it.

Every module of the store raises through here, so that a full disk reads the same wherever it is met.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import StoreError

Note = Callable[[str], None]
"""Gets one sentence about something that was wrong and has been healed or worked around."""

StrPath = str | os.PathLike[str]

_HINTS = {
    errno.ENOSPC: "free some space (doit gc), then run doit again: what is finished is kept",
    errno.EDQUOT: "your quota is used up: free some space (doit gc), then run doit again",
    errno.EFBIG: "raise the limit for the size of a file (ulimit -f), then run doit again: what is finished is kept",
    errno.EACCES: "make it writable for you",
    errno.EPERM: "make it writable for you",
    errno.EROFS: "the file system is read-only: make it writable",
    errno.ENOLCK: "the file system has no locks: mount it with them (nfs: with lockd, or local_lock=flock)",
    errno.ENOSYS: "have the project on another one",
    errno.EIO: "the disk cannot be read or written there: check it before you trust it with a build",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or run fewer jobs (-n)",
    errno.ENAMETOOLONG: "shorten the names of models or variants, or build in a directory with a shorter path",
    errno.EINVAL: "remove it, or move it away: doit makes a new one",
    errno.ELOOP: "remove the link, or move it away: doit makes a new one",
    errno.ENXIO: "remove it, or move it away: doit makes a new one",
    errno.EEXIST: "a file is where a directory should be: move it away",
    errno.ENOTDIR: "a file is where a directory should be: move it away",
    errno.EISDIR: "a directory is where a file should be: move it away",
    errno.ENOTEMPTY: "a directory is where a file should be: move it away",
}


_IN_THE_STORE = ("to the store", "a blob", "a record", "store an output", "store a download")
"""How the things end that are done in the store, which can be elsewhere."""

_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


ODD = frozenset({errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""What is said of a pipe, a device, a directory, a socket, or a link to itself where a file should be."""


class BlobMissing(StoreError):
    """A blob that a record names is not there, or was damaged and thrown out. Running the action again heals it."""


class NoRoom(StoreError):
    """What is to be fetched is more than the disk has room for."""


def store_error(error: OSError, doing: str, path: StrPath | None = None) -> StoreError:
    """Tell an OSError in our own words; `doing` is the end of the sentence "cannot …", e.g. `write a blob`."""
    said = (error.strerror or str(error)).lower()
    hint = _HINTS.get(error.errno or 0, "run doit again; if it stays, look at what else uses that path")
    if error.errno in _REFUSED and doing.startswith("read"):
        hint = "make it readable for you"
    elif error.errno in _REFUSED and doing.endswith(_IN_THE_STORE):
        hint += ", or point SLIPWAY_STORE at a directory that is"
    elif error.errno == errno.ENOENT and doing.startswith(("write", "keep")) and not doing.endswith(_IN_THE_STORE):
        hint = "make its directory, or name another place: nothing can be made there now"
    where = path if path is not None else error.filename
    return StoreError(f"cannot {doing}: {said}", where=os.fsdecode(where) if where is not None else None, hint=hint)


@contextlib.contextmanager
def told(doing: str, path: StrPath | None = None) -> Iterator[None]:
    """Have an OSError of the block told by `store_error`; `path` is where it was met if it does not say so itself."""
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, error.filename or path) from error


def remove_any(path: str) -> None:
    """Remove a file, or what else is in its place; nothing there is no error.

    Raises:
        OSError: it cannot be removed, or is a directory that is not empty.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):  # macOS says EPERM of a directory
        if not Path(path).is_dir():
            raise
        Path(path).rmdir()
