"""One content at several places, in the cheapest form that file systems allow; the store and the weights call it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from pathlib import Path

from . import TRY_BESIDE, Written, finish, look, rename, temporary_in, written

_FICLONE = 0x40049409
"""`_IOW(0x94, 9, int)` of linux/fs.h: one file shares the blocks of another until either is written."""

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}
"""Another file system; none that has links, or a kernel that protects them; too many (65,000 on ext4)."""


def share(source: str, target: str, mode: int, *, link: bool = True, through: str | None = None) -> Written:
    """Put the content of a file at another path, atomically, in the cheapest form that the file systems allow.

    A reflink (btrfs, xfs, APFS) shares blocks until one side is written; else a hard link, if `link` allows it, which
    has the mode of the source and can be edited through; else a copy. Executables are never hard links, as blobs have
    no executable bit. What is at the target is replaced, its directory is made if need be. `through` is a directory on
    the source's file system for the temporary file.
    """
    folder = str(Path(target).parent)
    try:
        return _share(source, target, mode, temporary_in(through or folder), link=link)
    except OSError as error:
        if through is None or error.errno not in TRY_BESIDE:
            raise
        return _share(source, target, mode, temporary_in(folder), link=link)


def _share(source: str, target: str, mode: int, temporary: str, *, link: bool) -> Written:
    Path(temporary).parent.mkdir(parents=True, exist_ok=True)
    try:
        if reflink(source, temporary):
            left = finish(temporary, mode)
        elif link and not mode & 0o111 and hard_link(source, temporary):
            left = written(look(temporary))
        else:
            shutil.copyfile(source, temporary, follow_symlinks=False)
            left = finish(temporary, mode)
        rename(temporary, target)
        return left
    finally:  # also after success: rename(2) of two links to one file does nothing at all
        with contextlib.suppress(OSError):
            Path(temporary).unlink()


def symlink(target: str | Path, place: str | Path) -> None:
    """Make a symlink.

    Raises:
        OSError: it cannot be made; ENOSYS where the file system has none, of which Linux says EPERM.
    """
    try:
        Path(place).symlink_to(target)
    except OSError as error:
        none = error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}
        what = (errno.ENOSYS, "the file system has no symlinks") if none else (error.errno or 0, error.strerror)
        raise OSError(*what, str(place)) from error  # by itself it names the target


def show(source: str | Path, place: str | Path) -> None:
    """Have a file or a directory at another path, where nothing is, to be read there: by a symlink.

    Where the file system has none (see quirk OS-14), by what `share` makes of each file.
    """
    try:
        symlink(source, place)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        if Path(source).is_dir():
            shutil.copytree(source, place, copy_function=show)
        else:
            share(str(source), str(place), Path(source).stat().st_mode & 0o777)


def move(source: str, target: str, mode: int) -> bool:
    """Move a file; copy it, and say no, where another file system, or another owner, is in the way."""
    try:
        rename(source, target)
    except OSError:
        share(source, target, mode, link=False)
        with contextlib.suppress(OSError):
            Path(source).unlink()
        return False
    return True


def reflink(source: str, target: str) -> bool:
    """Make `target`, which must not exist, a reflink of `source`; False, and nothing left, where that cannot be."""
    try:
        if _clone(source, target):
            return True
    except OSError:
        pass
    with contextlib.suppress(OSError):
        Path(target).unlink()
    return False


def _clone(source: str, target: str) -> bool:
    if sys.platform == "darwin":
        import ctypes  # noqa: PLC0415 - macOS only

        clonefile = ctypes.CDLL(None, use_errno=True).clonefile
        return bool(clonefile(os.fsencode(source), os.fsencode(target), 0) == 0)
    import fcntl  # noqa: PLC0415 - not on Windows

    with Path(source).open("rb") as old, Path(target).open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
    return True


def hard_link(source: str, target: str) -> bool:
    """Make `target`, which must not exist, a hard link to `source`; False where that cannot be."""
    try:
        Path(target).hardlink_to(source)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True
