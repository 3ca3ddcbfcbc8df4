# ruff: noqa: PTH101, PTH103, PTH108, PTH116, PTH120, PTH123
# Paths are strings in here: this is called for every file, and pathlib costs more than the work.
"""A large file from the store into the tree, in the cheapest form that the file systems allow.

A reflink (btrfs, xfs, bcachefs, APFS) shares its blocks until one side is written, so it is both cheap and safe.
Where there is none, a hard link; where that cannot be (another file system, an executable whose mode the blob does
not have), a copy. Used by `blobs` only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys

from .files import ELSEWHERE, copy_file, name_beside, rename
from .stat_cache import stamp

FICLONE = 0x40049409
"""`_IOW(0x94, 9, int)` of linux/fs.h."""

_UNLINKABLE = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}
"""Another file system; none that has links, or a kernel that protects them; too many (65,000 on ext4)."""

_refusing: set[int] = set()
"""Devices that were found to have no reflinks."""


def give(source: str, target: str, mode: int, temporary: str) -> None:
    """Put the content of a file that will not change at a path, atomically.

    Args:
        source: the file.
        target: where; what is there is replaced, its directory is made if need be.
        mode: permissions; a hard link has those of the source.
        temporary: an unused name on the source's file system.

    Raises:
        OSError: the target cannot be written.
    """
    try:
        _give(source, target, mode, temporary)
    except OSError as error:
        if error.errno not in ELSEWHERE:
            raise
        _give(source, target, mode, name_beside(target))


def _give(source: str, target: str, mode: int, temporary: str) -> None:
    try:
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        if reflink(source, temporary):
            finish(temporary, mode)
        elif mode & 0o111 or not _link(source, temporary):
            copy_file(source, temporary)
            finish(temporary, mode)
        rename(temporary, target)
    finally:  # also after success: rename(2) of two links to one file does nothing at all
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def finish(path: str, mode: int) -> None:
    """Give a file of ours its permissions and its stamp."""
    os.chmod(path, mode)
    stamp(path)


def reflink(source: str, target: str) -> bool:
    """Make `target`, which must not exist, a reflink of `source`; False, and nothing left, where that cannot be."""
    try:
        device = os.stat(source).st_dev
        if device in _refusing:
            return False
        if _clone(source, target):
            return True
        _refusing.add(device)
    except OSError:
        pass
    with contextlib.suppress(OSError):
        os.unlink(target)
    return False


def _clone(source: str, target: str) -> bool:
    if sys.platform == "darwin":
        import ctypes  # noqa: PLC0415 - elsewhere nobody needs it

        clonefile = ctypes.CDLL(None, use_errno=True).clonefile
        return bool(clonefile(os.fsencode(source), os.fsencode(target), 0) == 0)
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:
            return False
    return True


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    return True
