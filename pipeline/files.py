"""Files of ours: their state and digest, written atomically, shared between places; everything above uses it.

A file appears under its name complete: a temporary name, then a rename. Temporary names are random, since two
containers that share a directory may have the same process IDs.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import sys
import time
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

CHUNK_BYTES = 1 << 20

STALE_SECONDS = 24 * 3600
"""Age after which a temporary file belongs to a process that was killed."""

NAME_BYTES, PATH_BYTES = 255, 4000
"""What Linux and macOS bear of a name and, less the directory it is in, of a path."""

_TEMPORARY = ".slipway-tmp"

_FICLONE = 0x40049409
"""`_IOW(0x94, 9, int)` of linux/fs.h: one file shares the blocks of another until either is written."""

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}
"""Another file system; none that has links, or a kernel that protects them; too many (65,000 on ext4)."""

_TRY_BESIDE = {errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM}
"""What a temporary file elsewhere may run into that one in the target's own directory does not."""

CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of Slipway.\n"
"""See https://bford.info/cachedir/"""

# States

State = tuple[int, int, int, int]
"""Size, mtime (ns), inode, ctime (ns): while all four are the same, so is the content, but for `RACY_NS`."""

MISSING: State = (-1, 0, 0, 0)
"""The state of a file that is not there."""

RACY_NS = 20_000_000
"""A file that changed less than this before it was looked at could change again and keep its times: the clock of the
file system ticks every 4 to 10 ms on Linux."""


def look(path: str | os.PathLike[str]) -> State:
    """The state of a file, links followed; `MISSING` where it is not there."""
    try:
        return state_of(os.stat(path))  # noqa: PTH116 - for every file there is, and pathlib takes longer than the call
    except OSError:
        return MISSING


def state_of(found: os.stat_result) -> State:
    """The part of a stat result that tells whether a file was written."""
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def stamp(target: int | str | Path) -> None:
    """Give a file of ours an mtime that no other write can leave: now, to the nanosecond.

    Any later write puts a tick of the kernel's coarse clock in its place, so the state of the file can be trusted at
    once, without waiting for `RACY_NS`.
    """
    now = time.time_ns()
    os.utime(target, ns=(now, now))


# Digests


class Digest(NamedTuple):
    """SHA-256 in lower-case hex, and size in bytes, of a content."""

    sha256: str
    size: int


def sha256_bytes(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(file: BinaryIO) -> str:
    """SHA-256 of what is left to read of a binary file."""
    digest = hashlib.sha256()
    while block := file.read(CHUNK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def sha256_path(path: str | Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb", buffering=0) as file:
        return sha256_file(file)


def digest_path(path: str | Path) -> Digest:
    """Digest of a file's content, which is read once.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb", buffering=0) as file:
        return Digest(sha256_file(file), file.tell())


def copy_hashed(source: BinaryIO, target: BinaryIO) -> Digest:
    """Copy what is left to read of one file to another, hashing it on the way."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(CHUNK_BYTES):
        target.write(block)
        digest.update(block)
        size += len(block)
    return Digest(digest.hexdigest(), size)


# Names


def is_safe_relative(path: str) -> bool:
    """Whether a relative posix path stays below the directory it is joined to, is canonical, and can be a file's."""
    if not path or "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        return False
    if len(path) < NAME_BYTES and path.isascii():
        return True
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return len(data) <= PATH_BYTES and all(len(part) <= NAME_BYTES for part in data.split(b"/"))


def unsafe_path(path: str) -> str | None:
    """Why a relative path of an archive, a server or a lock must not be used, or None when it may.

    Backslashes and drive letters are refused on every system: an archive must mean the same everywhere.
    """
    if not path or "\0" in path:
        return "is empty or has a NUL character"
    if "\\" in path or ":" in path.split("/", 1)[0]:
        return "has a backslash or a drive letter"
    if path.startswith("/"):
        return "is absolute"
    if not is_safe_relative(path) or str(PurePosixPath(path)) != path:
        return "leaves its directory, is too long or is not in its plain form"
    return None


def stays_inside(name: str, target: str) -> bool:
    """Whether a symlink at this relative path leads to a place below the directory that the path is relative to.

    `..` may only come first: after a name that is itself a symlink it could lead anywhere.
    """
    parts = target.split("/")
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and "\0" not in target and parts[0] != "" and ups <= name.count("/") and ".." not in parts[ups:]


def temporary_in(folder: str | Path) -> str:
    """An unused name in a directory, unique across processes, containers and machines."""
    return f"{folder}/{secrets.token_hex(8)}{_TEMPORARY}"


def sweep(*folders: str | Path) -> None:
    """Remove temporary files that killed processes have left in these directories. Failing to is no error."""
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in Path(folder).iterdir():
                with contextlib.suppress(OSError):
                    # The ctime: a hard link has the mtime of what it is a link to.
                    if path.name.endswith(_TEMPORARY) and path.lstat().st_ctime < time.time() - STALE_SECONDS:
                        path.unlink()


# Writing


def read_file(path: str) -> bytes:
    """The whole content of a file."""
    return Path(path).read_bytes()


def write_new(path: str, data: bytes, mode: int = 0o644, *, durable: bool = False) -> None:
    """Make a new, stamped file (the umask applies) and its directory; nothing is left on failure.

    Args:
        path: it must not exist.
        data: its content.
        mode: permissions.
        durable: return when it is on the disk.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, mode)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, flags, mode)
    try:
        try:
            done = os.write(fd, data)
            while done < len(data):
                done += os.write(fd, memoryview(data)[done:])
            stamp(fd)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(path).unlink()
        raise


def write_atomic(
    path: str | Path,
    data: bytes | str,
    mode: int | None = 0o644,
    *,
    through: str | Path | None = None,
    durable: bool = False,
) -> None:
    """Replace a file in one step, making its directory if need be.

    Args:
        path: the file.
        data: its content; text becomes UTF-8.
        mode: permissions, less the umask; None keeps those of the file that is there.
        through: directory for the temporary file, where a killed process leaves it in nobody's way; the file's own
            directory is used where that one cannot be.
        durable: return when the file is on the disk, under its name.
    """
    folder = Path(path).parent
    data = data.encode() if isinstance(data, str) else data
    try:
        _write_and_rename(str(path), data, mode, temporary_in(through or folder), durable=durable)
    except OSError as error:
        if through is None or error.errno not in _TRY_BESIDE:
            raise
        _write_and_rename(str(path), data, mode, temporary_in(folder), durable=durable)


def _write_and_rename(path: str, data: bytes, mode: int | None, temporary: str, *, durable: bool) -> None:
    write_new(temporary, data, 0o644 if mode is None else mode, durable=durable)
    try:
        if mode is None and Path(path).exists():
            Path(temporary).chmod(Path(path).stat().st_mode & 0o7777)
        rename(temporary, path)
    except OSError:
        Path(temporary).unlink()
        raise
    if durable:
        _sync_folder(Path(path).parent)


def _sync_folder(path: Path) -> None:
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


def finish(path: str, mode: int) -> None:
    """Give a file of ours its permissions and its stamp."""
    Path(path).chmod(mode)
    stamp(path)


def tag_cache(folder: str | Path) -> None:
    """Mark a directory as one that backups may leave out. Failing to is no error."""
    tag = Path(folder, "CACHEDIR.TAG")
    with contextlib.suppress(OSError):
        if not tag.exists():
            write_atomic(tag, CACHEDIR_TAG)


# Sealed files: our own state, with a checksum


def write_sealed(path: str | Path, body: bytes) -> None:
    """Write a state file with a checksum in front. Failing to is no error: it only costs time later."""
    with contextlib.suppress(OSError):
        write_atomic(path, zlib.crc32(body).to_bytes(4, "little") + body)


def read_sealed(path: str | Path) -> bytes | None:
    """The content of a state file; None where there is none, or it is damaged."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    return data[4:] if len(data) > 4 and int.from_bytes(data[:4], "little") == zlib.crc32(data[4:]) else None  # noqa: PLR2004 - the checksum


# Sharing


def share(source: str, target: str, mode: int, *, link: bool = True, through: str | None = None) -> None:
    """Put the content of a file at another path, atomically, in the cheapest form that the file systems allow.

    A reflink (btrfs, xfs, APFS) shares blocks until one side is written; else a hard link, which has the mode of the
    source and can be edited through; else a copy.

    Args:
        source: the file.
        target: where; what is there is replaced, its directory is made if need be.
        mode: permissions of a reflink or copy. Executables are never hard links, as blobs have no executable bit.
        link: whether a hard link will do.
        through: directory on the source's file system for the temporary file.
    """
    folder = str(Path(target).parent)
    try:
        _share(source, target, mode, temporary_in(through or folder), link=link)
    except OSError as error:
        if through is None or error.errno not in _TRY_BESIDE:
            raise
        _share(source, target, mode, temporary_in(folder), link=link)


def _share(source: str, target: str, mode: int, temporary: str, *, link: bool) -> None:
    Path(temporary).parent.mkdir(parents=True, exist_ok=True)
    try:
        if reflink(source, temporary):
            finish(temporary, mode)
        elif not link or mode & 0o111 or not hard_link(source, temporary):
            shutil.copyfile(source, temporary, follow_symlinks=False)
            finish(temporary, mode)
        rename(temporary, target)
    finally:  # also after success: rename(2) of two links to one file does nothing at all
        with contextlib.suppress(OSError):
            Path(temporary).unlink()


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


def files_below(folder: Path) -> list[tuple[str, Path]]:
    """`(relative path with forward slashes, path)` of every file, sorted. Links to files count as files."""
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
