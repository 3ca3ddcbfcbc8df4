# ruff: noqa: PTH102, PTH103, PTH104, PTH108, PTH120
# Paths are strings in here: this is called for every file, and pathlib costs more than the work.
"""The few moves with files that the store makes ten thousand times: no pathlib, as few system calls as it takes.

Every file appears under its name complete (a temporary name and a rename), and directories are made when they are
found to be missing, not looked for each time. `blobs` and `outputs` use it; all of it raises OSError, which they put
into words.
"""

from __future__ import annotations

import contextlib
import errno
import os

from .stat_cache import stamp

ELSEWHERE = {errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM}
"""What a temporary file may run into that one in the target's own directory does not."""


def read_file(path: str) -> bytes:
    """The whole content of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        while len(data) < size and (more := os.read(fd, size - len(data))):  # one read(2) gives at most 2 GiB
            data += more
        return data
    finally:
        os.close(fd)


def write_file(path: str, data: bytes, mode: int) -> None:
    """Make a new, stamped file (the umask applies), and its directory if need be. Nothing is left on failure."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, mode)
    except FileNotFoundError:
        _make_folder(path)
        fd = os.open(path, flags, mode)
    try:
        try:
            done = os.write(fd, data)
            while done < len(data):
                done += os.write(fd, memoryview(data)[done:])
            stamp(fd)
        finally:
            os.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def rename(old: str, new: str) -> None:
    """Rename a file, making the directory it goes to if need be."""
    try:
        os.rename(old, new)
    except FileNotFoundError:
        _make_folder(new)
        os.rename(old, new)


def replace_file(target: str, data: bytes, mode: int, temporary: str) -> None:
    """Write a file of ours in one step.

    Args:
        target: the file; replaced if it is there.
        data: its content.
        mode: permissions, less the umask.
        temporary: an unused name, at best on the same file system.
    """
    try:
        _write_and_rename(target, data, mode, temporary)
    except OSError as error:
        if error.errno not in ELSEWHERE:
            raise
        _write_and_rename(target, data, mode, name_beside(target))


def copy_file(source: str, target: str) -> None:
    """Copy the content to a new file, making its directory if need be. Nothing is left on failure."""
    import shutil  # noqa: PLC0415 - large files only

    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        shutil.copyfile(source, target, follow_symlinks=False)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target)
        raise


def _make_folder(path: str) -> None:
    """Make the directory that a file belongs in; mostly only the last part of its path is missing."""
    folder = os.path.dirname(path)
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)


def _write_and_rename(target: str, data: bytes, mode: int, temporary: str) -> None:
    write_file(temporary, data, mode)
    try:
        rename(temporary, target)
    except OSError:
        os.unlink(temporary)
        raise


def name_beside(target: str) -> str:
    """A temporary name in the target's own directory, for when the store is elsewhere or read-only; made free for use.

    Always the same one, so that a killed run leaves at most one such file, and the next run clears it away.
    """
    folder, base = os.path.split(target)
    name = f"{folder}/.{base}.slipway"
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(name)
    return name
