"""Outputs on their way: taken in from scratch, put into the tree, looked after there, and taken away.

`store` comes here with what a result or an entry of the workspace says. Only files that an action owns are touched:
several actions, and people, may keep files in one directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import StoreError
from pipeline.files import Digest, Written, look, read_file, rename, sha256_bytes, state_of, temporary_in, written
from pipeline.files.names import is_safe_relative, stays_inside
from pipeline.files.sharing import symlink

from .action_result import FILE, INLINED_BYTES, INLINED_TOTAL_BYTES, LINK, PROGRAM, ActionResult, Output
from .cas import HASHED_BYTES, Cas
from .os_errors import store_error, told
from .stat_cache import StatCache


class Placed(NamedTuple):
    """What `place` did, as relative paths."""

    written: tuple[str, ...]
    removed: tuple[str, ...]


def ingest(path: str, file: str, inlined: dict[str, bytes], blobs: Cas, *, known: Digest | None = None) -> Output:
    """Take in what an action made: into `inlined`, which travels in the result, or as a blob.

    `path` is the output's relative path, `file` where it is now, in scratch. What is added to `inlined` counts towards
    `INLINED_TOTAL_BYTES`. Its digest is `known` where whoever wrote it has made that.

    Raises:
        StoreError: it cannot be an output, is still being written, or the store cannot be written.
    """
    _demand_safe(path)
    with told("store an output", file):
        found = os.lstat(file)
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(file)
            if not stays_inside(path, target):
                raise StoreError(f"leads outside the outputs, to {target}", where=file, hint="copy what it points to")
            return _inline(os.fsencode(target), LINK, inlined)
        mode = PROGRAM if found.st_mode & 0o111 else FILE
        if not stat.S_ISREG(found.st_mode) or found.st_size > _room(inlined):
            return Output(*blobs.put(file, known=known), mode)
        data = read_file(file)
    if len(data) != found.st_size:
        raise StoreError("is still being written", where=file, hint="run doit again")
    return _inline(data, mode, inlined)


def ingest_link(path: str, file: str, inlined: dict[str, bytes], blobs: Cas, digest: Digest) -> Output:
    """Take in a file that stays where it is, of which the digest is known. Arguments are those of `ingest`.

    Raises:
        StoreError: it is no file of that size, or the store cannot be written.
    """
    _demand_safe(path)
    if digest.sha256 not in inlined and digest.size <= _room(inlined):
        data = read_file(file)
        if sha256_bytes(data) != digest.sha256:
            raise StoreError("changed while it was being stored", where=file, hint="run doit again")
        return _inline(data, FILE, inlined)
    if digest.sha256 not in inlined:
        blobs.link(os.path.realpath(file), digest)
    return Output(*digest)


def _room(inlined: Mapping[str, bytes]) -> int:
    """Bytes that an output may have to travel in the result."""
    return min(INLINED_BYTES, INLINED_TOTAL_BYTES - sum(map(len, inlined.values())))


def _demand_safe(path: str) -> None:
    if not is_safe_relative(path):
        raise StoreError(
            "an output needs a relative path without '..', no longer than file systems bear",
            where=path,
            hint="correct the step that wrote it",
        )


def ingest_log(file: str, inlined: dict[str, bytes], blobs: Cas) -> str | None:
    """Take in what an action's tools printed, and return its digest; None when that is nothing."""
    try:
        data = read_file(file)
    except OSError:
        return None
    if not data:
        return None
    if len(data) <= INLINED_BYTES:
        return _inline(data, FILE, inlined).sha256
    return blobs.put_bytes(data).sha256


def _inline(data: bytes, mode: int, inlined: dict[str, bytes]) -> Output:
    sha256 = sha256_bytes(data)
    inlined[sha256] = data
    return Output(sha256, len(data), mode)


def place(
    record: ActionResult,
    root: str,
    before: Iterable[str],
    stat_cache: StatCache,
    blobs: Cas,
    *,
    link: bool = False,
) -> Placed:
    """Make the tree hold a result's outputs below `root`, touching only what differs.

    Of the relative paths that the action owned `before`, those that it owns no more are removed. For `link` see
    `Cas.materialise`.

    Raises:
        BlobMissing: a blob is gone; the action must run.
        StoreError: the tree cannot be written.
    """
    outputs = record.outputs
    gone = remove([path for path in before if path not in outputs], root, keep_root=True)
    put = []
    for path, output in outputs.items():
        target = f"{root}/{path}"
        if is_intact(target, output, stat_cache, blobs):
            continue
        try:
            try:
                left = _write(record, path, target, blobs, link=link)
            except IsADirectoryError:
                Path(target).rmdir()  # an empty one that is left over
                left = _write(record, path, target, blobs, link=link)
            state = look(target)
            if written(state) == left:
                stat_cache.remember(target, state, output.sha256)
        except OSError as error:
            raise store_error(error, "write an output", target) from error
        put.append(path)
    return Placed(tuple(put), tuple(gone))


def damaged(outputs: Mapping[str, Output], root: str, stat_cache: StatCache, blobs: Cas) -> list[str]:
    """The outputs that are missing, or not what they were when they were made."""
    return [path for path, output in outputs.items() if not is_intact(f"{root}/{path}", output, stat_cache, blobs)]


def is_intact(target: str, output: Output, stat_cache: StatCache, blobs: Cas) -> bool:
    """Whether a file is there with the content and the kind that it should have."""
    try:
        found = os.lstat(target)
        if output.mode == LINK:
            link = os.readlink(target) if stat.S_ISLNK(found.st_mode) else ""
            return sha256_bytes(os.fsencode(link)) == output.sha256
        mode = found.st_mode
        if not stat.S_ISREG(mode) or found.st_size != output.size:
            return False
        if (not mode & 0o111) != (not output.mode & 0o111) and _keeps_modes(target, stat.S_IMODE(mode)):
            return False
        known = stat_cache.known(target, state_of(found))
        if known is None and _is_sound_link(target, found, output, blobs):
            # Each further link changes the ctime of all of them; the CAS keeps track of its own.
            known = output.sha256
            now = look(target)
            if written(now) == written(state_of(found)):
                stat_cache.remember(target, now, known)
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
        if not is_safe_relative(path):
            continue
        target = Path(root, path)
        try:
            target.unlink()
            removed.append(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass  # not ours any more
        except OSError as error:
            if error.errno != errno.EPERM or not target.is_dir():  # macOS says EPERM of a directory
                raise store_error(error, "remove an output", target) from error
        while path := path.rpartition("/")[0]:
            folders.add(path)
    for folder in [
        *sorted((f"{root}/{folder}" for folder in folders), key=len, reverse=True),
        *([] if keep_root else [root]),
    ]:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return removed


def _write(record: ActionResult, path: str, target: str, blobs: Cas, *, link: bool) -> Written | None:
    """Write an output, and return how it was left; None of a symlink."""
    output = record.outputs[path]
    data = record.small.get(output.sha256)
    if output.mode == LINK:
        _write_symlink(path, target, data if data is not None else blobs.read(output.sha256), blobs.part_for(target))
        return None
    if data is None:
        return blobs.materialise(Digest(output.sha256, output.size), target, output.mode, link=link)
    return blobs.write_beside(target, data, output.mode)


def leads_outside(record: ActionResult, blobs: Cas) -> str | None:
    """The first symlink of a result that leads outside its outputs; None when there is none.

    Raises:
        StoreError: a blob cannot be read.
    """
    for path, output in record.outputs.items():
        if output.mode == LINK:
            data = record.small.get(output.sha256)
            if not stays_inside(path, os.fsdecode(blobs.read(output.sha256) if data is None else data)):
                return path
    return None


def _write_symlink(path: str, target: str, data: bytes, folder: str) -> None:
    leads_to = os.fsdecode(data)
    if not stays_inside(path, leads_to):
        raise StoreError(
            f"a symlink in the store leads outside, to {leads_to}", where=target, hint="run: doit cache verify"
        )
    temporary = temporary_in(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    symlink(leads_to, temporary)
    try:
        rename(temporary, target)
    except OSError:
        Path(temporary).unlink()
        raise


def _keeps_modes(path: str, mode: int) -> bool:
    """Whether a file whose mode is wrong can have another (see quirk OS-14)."""
    os.chmod(path, mode ^ 0o111)
    changed = stat.S_IMODE(os.lstat(path).st_mode) != mode
    os.chmod(path, mode)
    return changed


def _is_sound_link(target: str, found: os.stat_result, output: Output, blobs: Cas) -> bool:
    if found.st_nlink == 1 or found.st_size <= HASHED_BYTES:
        return False
    try:
        return Path(target).samefile(blobs.path(output.sha256)) and blobs.check(output.sha256, output.size)
    except FileNotFoundError:
        return False
