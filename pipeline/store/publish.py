"""A directory of outputs that is replaced whole: what is there afterwards is all old or all new, whatever was killed.

The new one is put together in a scratch directory and changes places with the old one. What the action does not own
(a package manager leaves its own files beside a kit) moves along.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.files import look, written
from pipeline.files.sharing import hard_link

from . import outputs
from .action_result import LINK, ActionResult
from .cas import Cas
from .os_errors import store_error
from .stat_cache import StatCache, walk

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Linux: fcntl.h, linux/fs.h."""
_RENAME_SWAP = 2
"""macOS: sys/stdio.h."""

_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV, errno.EPERM}
"""No such call, not on this file system, or not between these two (a lower layer of an overlay)."""


def publish(
    record: ActionResult,
    root: str,
    before: Iterable[str],
    stat_cache: StatCache,
    blobs: Cas,
    *,
    link: bool,
    scratch: str,
) -> outputs.Placed:
    """Make an action's own directory hold a result's outputs, in one rename where the file system can do that.

    `before` are relative paths that the action owned until now, `scratch` is an unused name for a directory. For `link`
    see `Cas.materialise`.

    Raises:
        BlobMissing: a blob is gone; the action must run.
        StoreError: the tree cannot be written.
    """
    owned = list(before)
    kept = {path: written(look(f"{root}/{path}")) for path in record.outputs}  # before they are looked through
    spoilt = outputs.damaged(record.outputs, root, stat_cache, blobs)
    gone = [path for path in owned if path not in record.outputs and os.path.lexists(f"{root}/{path}")]
    if not spoilt and not gone:
        return outputs.Placed((), ())
    try:
        _keep(root, scratch, [path for path in record.outputs if path not in spoilt])
        placed = StatCache()
        outputs.place(record, scratch, (), placed, blobs, link=link)
        _keep(root, scratch, sorted(set(_found(root)) - set(owned) - record.outputs.keys()))
        proven = {}
        for path, output in record.outputs.items():
            state = look(f"{scratch}/{path}")
            if output.mode != LINK and (written(state) == kept[path] or placed.known(f"{scratch}/{path}", state)):
                proven[path] = written(state)
        if not _change_places(scratch, root):
            return outputs.place(record, root, owned, stat_cache, blobs, link=link)
    except OSError as error:
        raise store_error(error, "publish", error.filename or root) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for path, left in proven.items():
        state = look(f"{root}/{path}")
        if written(state) == left:
            stat_cache.remember(f"{root}/{path}", state, record.outputs[path].sha256)
    return outputs.Placed(tuple(spoilt), tuple(gone))


def _found(root: str) -> list[str]:
    return walk(root) if Path(root).is_dir() else []


def _keep(old: str, new: str, paths: Iterable[str]) -> None:
    """Have some files in the new directory as they are in the old one: the same inodes, where links can be had."""
    for path in paths:
        source, target = f"{old}/{path}", f"{new}/{path}"
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_symlink() or (Path(source).is_file() and not hard_link(source, target)):
            shutil.copy2(source, target, follow_symlinks=False)


def _change_places(new: str, old: str) -> bool:
    """Give the new directory the place of the old one, which gets that of the new; False where that cannot be."""
    if os.path.lexists(old) and not Path(old).is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), old)
    try:
        if Path(old).is_dir():
            _exchange(new, old)
        else:
            Path(old).parent.mkdir(parents=True, exist_ok=True)
            Path(new).rename(old)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _exchange(one: str, other: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        call, arguments = "renamex_np", (os.fsencode(one), os.fsencode(other), _RENAME_SWAP)
    else:
        call, arguments = "renameat2", (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    function = getattr(library, call, None)
    if function is None:  # an old C library
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), other)
