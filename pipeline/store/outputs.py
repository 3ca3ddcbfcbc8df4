# ruff: noqa: PTH103, PTH106, PTH108, PTH112, PTH114, PTH115, PTH116, PTH120, PTH121, PTH211
# Paths are strings in here: this is called for every file, and pathlib costs more than the work.
"""Outputs on their way: taken in from scratch, put into the tree, looked after there, and taken away.

`store` comes here with what a record or an entry of the workspace says. Only files that an action owns are touched:
several actions, and people, may keep files in one directory.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipeline.errors import StoreError

from .action_cache import FILE, LINK, PROGRAM, SMALL, SMALL_TOTAL, ActionResult, Output, is_safe_path
from .cas import CHEAP, Cas
from .files import rename, replace_file
from .os_errors import store_error
from .stat_cache import StatCache, stamp, stays_inside


class Placed(NamedTuple):
    """What `place` did, as relative paths."""

    written: tuple[str, ...]
    removed: tuple[str, ...]


Marks = dict[str, tuple[int, int, int]]
"""Relative path -> inode, size and mtime (ns) of a file that was stamped, and then read."""


class Scratch(NamedTuple):
    """Where an action has just made its outputs. Those with marks may be moved, which takes the mark away.

    `texts` are those that it never wrote to a file, with their content.
    """

    folder: str
    marks: Marks
    texts: Mapping[str, bytes] = MappingProxyType({})


def take(
    path: str, file: str, small: dict[str, bytes], blobs: Cas, *, move: bool, marks: Marks | None = None
) -> Output:
    """Take in what an action made: into `small`, which travels in the record, or as a blob.

    Args:
        path: the output's relative path.
        file: where it is now.
        small: digest -> content; what is added here counts towards `SMALL_TOTAL`.
        blobs: where the rest goes.
        move: the file need not be left where it is.
        marks: gets the mark of a small file that is nobody else's; None leaves files as they are.

    Raises:
        StoreError: it cannot be an output, is still being written, or the store cannot be written.
    """
    _demand_safe(path)
    try:
        found = _read_small(file, _room(small), stamped=marks is not None)
        if found is not None:
            data, state, mtime = found
            mode = PROGRAM if state.st_mode & 0o111 else FILE
            if marks is not None and mtime and state.st_mode & 0o777 == mode:
                marks[path] = (state.st_ino, state.st_size, mtime)
        elif os.path.islink(file):
            target, mode = os.readlink(file), LINK
            if not stays_inside(path, target):
                raise StoreError(f"leads outside the outputs, to {target}", where=file, hint="copy what it points to")
            data = os.fsencode(target)
        else:
            mode = PROGRAM if os.lstat(file).st_mode & 0o111 else FILE
            sha256, size = blobs.put(file, move=move)
            return Output(sha256, size, mode)
    except OSError as error:
        raise store_error(error, "store an output", file) from error
    sha256 = _sha256(data)
    small[sha256] = data
    return Output(sha256, len(data), mode)


def take_bytes(path: str, data: bytes, small: dict[str, bytes], blobs: Cas) -> Output:
    """Take in an output that is in memory; arguments as of `take`.

    Raises:
        StoreError: it cannot be an output, or the store cannot be written.
    """
    _demand_safe(path)
    if len(data) > _room(small):
        return Output(*blobs.put_bytes(data), FILE)
    sha256 = _sha256(data)
    small[sha256] = data
    return Output(sha256, len(data), FILE)


def _demand_safe(path: str) -> None:
    if not is_safe_path(path):
        raise StoreError(
            "an output needs a relative path without '..'", where=path, hint="correct the step that wrote it"
        )


def _room(small: Mapping[str, bytes]) -> int:
    """Bytes that an output may have to travel in the record."""
    return min(SMALL, SMALL_TOTAL - sum(map(len, small.values()))) if small else SMALL


def _read_small(file: str, limit: int, *, stamped: bool) -> tuple[bytes, os.stat_result, int] | None:
    """The content of a regular file, its state, and the mtime it was given before it was read: 0 where it kept its own.

    None where it is no regular file, or larger.

    Raises:
        StoreError: it is still being written.
        OSError: it cannot be read.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:  # a symlink, a socket
            return None
        raise
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
            return None
        mtime = stamp(fd) if stamped and state.st_nlink == 1 else 0
        data = os.read(fd, state.st_size + 1)
    finally:
        os.close(fd)
    if len(data) != state.st_size:
        raise StoreError("is still being written", where=file, hint="run doit again")
    return data, state, mtime


def take_log(file: str, small: dict[str, bytes], blobs: Cas) -> str | None:
    """Take in what an action's tools printed, and return its digest; None when that is nothing."""
    try:
        if os.stat(file).st_size == 0:
            return None
    except OSError:
        return None
    return take("log", file, small, blobs, move=False).sha256


def place(
    record: ActionResult,
    root: str,
    before: Iterable[str],
    stat_cache: StatCache,
    blobs: Cas,
    *,
    link: bool = False,
    scratch: Scratch | None = None,
) -> Placed:
    """Make the tree hold what a record says, touching only what differs.

    Args:
        record: whose outputs.
        root: the directory they belong in.
        before: relative paths that the action owned until now; those it owns no more are removed.
        stat_cache: digests of the tree's files.
        blobs: where the content is.
        link: see `Cas.materialise`.
        scratch: where the action has just made these outputs.

    Raises:
        BlobMissing: a blob is gone; the action must run.
        StoreError: the tree cannot be written.
    """
    outputs = record.outputs
    gone = remove([path for path in before if path not in outputs], root, keep_root=True)
    written = []
    for path, output in outputs.items():
        target = f"{root}/{path}"
        # Where nothing was ours yet, to put it there is cheaper than a look at what is there.
        quick = not before and scratch is not None and (path in scratch.marks or path in scratch.texts)
        if not quick and is_intact(target, output, stat_cache, blobs):
            continue
        try:
            state = None if scratch is None else _moved(scratch, path, target)
            if state is None:
                data = None if scratch is None or link else scratch.texts.get(path)
                try:
                    _write(record, path, target, blobs, data, link=link)
                except IsADirectoryError:
                    os.rmdir(target)  # an empty one that is left over
                    _write(record, path, target, blobs, data, link=link)
                state = os.lstat(target)
            if output.mode != LINK:
                stat_cache.remember(target, state, output.sha256)
        except OSError as error:
            raise store_error(error, "write an output", target) from error
        written.append(path)
    return Placed(tuple(written), tuple(gone))


def damaged(outputs: Mapping[str, Output], root: str, stat_cache: StatCache, blobs: Cas) -> list[str]:
    """The outputs that are missing, or not what they were when they were made."""
    return [path for path, output in outputs.items() if not is_intact(f"{root}/{path}", output, stat_cache, blobs)]


def is_intact(target: str, output: Output, stat_cache: StatCache, blobs: Cas) -> bool:
    """Whether a file is there with the content and the kind that it should have."""
    try:
        state = os.lstat(target)
        if output.mode == LINK:
            return stat.S_ISLNK(state.st_mode) and _sha256(os.fsencode(os.readlink(target))) == output.sha256
        mode = state.st_mode
        if not stat.S_ISREG(mode) or state.st_size != output.size or (not mode & 0o111) != (not output.mode & 0o111):
            return False
        known = stat_cache.peek(target, state)
        if known is None and _is_sound_link(target, state, output, blobs):
            # Each further link changes the ctime of all of them; the blob store keeps track of its own.
            known = output.sha256
            stat_cache.remember(target, os.lstat(target), known)
        return (known or stat_cache.file(target)) == output.sha256
    except (StoreError, OSError):
        return False


def remove(paths: Iterable[str], root: str, *, keep_root: bool = False) -> list[str]:
    """Remove files and the directories that this leaves empty, up to the root; return what was there.

    Raises:
        StoreError: a file cannot be removed.
    """
    removed, folders = [], set()
    for path in paths:
        if not is_safe_path(path):
            continue
        try:
            os.unlink(f"{root}/{path}")
            removed.append(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass  # not ours any more
        except OSError as error:
            if error.errno != errno.EPERM or not os.path.isdir(f"{root}/{path}"):  # macOS says EPERM of a directory
                raise store_error(error, "remove an output", f"{root}/{path}") from error
        while path := path.rpartition("/")[0]:
            folders.add(path)
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(f"{root}/{folder}")
    if not keep_root:
        with contextlib.suppress(OSError):
            os.rmdir(root)
    return removed


def _write(record: ActionResult, path: str, target: str, blobs: Cas, data: bytes | None, *, link: bool) -> None:
    output = record.outputs[path]
    data = record.small.get(output.sha256, data)
    if output.mode == LINK:
        _write_symlink(
            path, target, data if data is not None else blobs.read(output.sha256), blobs.temporary_for(target)
        )
    elif data is None:
        blobs.materialise(output.sha256, target, output.mode, link=link)
    else:
        replace_file(target, data, output.mode, blobs.temporary_for(target))


def _write_symlink(path: str, target: str, data: bytes, temporary: str) -> None:
    leads_to = os.fsdecode(data)
    if not stays_inside(path, leads_to):
        raise StoreError(
            f"a symlink in the store leads outside, to {leads_to}", where=target, hint="run: doit cache verify"
        )
    os.makedirs(os.path.dirname(temporary), exist_ok=True)
    os.symlink(leads_to, temporary)
    try:
        rename(temporary, target)
    except OSError:
        os.unlink(temporary)
        raise


def _moved(scratch: Scratch, path: str, target: str) -> os.stat_result | None:
    """Move a file from scratch, for making one costs twice as much; None when it has to be made all the same.

    A file that has still its mark is what was read then: any write would have left another mtime (see `digest`).
    """
    mark = scratch.marks.get(path)
    if mark is None:
        return None
    try:
        rename(f"{scratch.folder}/{path}", target)
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.ENOENT, errno.EISDIR}:
            return None
        raise
    del scratch.marks[path]
    state = os.lstat(target)
    return state if (state.st_ino, state.st_size, state.st_mtime_ns) == mark and state.st_nlink == 1 else None


def _is_sound_link(target: str, state: os.stat_result, output: Output, blobs: Cas) -> bool:
    if state.st_nlink == 1 or state.st_size <= CHEAP:
        return False
    try:
        return os.path.samefile(blobs.path(output.sha256), target) and blobs.check(output.sha256, output.size)
    except FileNotFoundError:
        return False


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
