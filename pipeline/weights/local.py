"""Weights the user already has: `weights: {path: …}`, a directory or one file.

They are copied (cloned where the file system can), never linked: what is built must not change when they are edited,
nor the other way round. They are not locked, for their digests are in the action's key.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import DownloadError
from pipeline.files.below import below

from .choose import choose
from .entry import Arrived, Request


def fetch(request: Request) -> Arrived:
    """List what there is; symbolic links are followed, as checkpoints often are directories of links into a cache.

    Raises:
        DownloadError: an empty directory, a dangling link, or something that is no file.
    """
    root = request.local
    assert root is not None  # noqa: S101 - a source of this kind has one, and the matrix has seen that it is there
    if not root.is_dir():
        _check(root)
        return Arrived(resolved="", files={root.name: root}, keep="copy")
    try:
        found = {name: root / name for name in below(str(root)) if not name.endswith("/")}
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise DownloadError(what, where=error.filename, hint="remove the link, or correct the permissions") from error
    chosen = choose(found, request.source, str(root))
    for name in chosen:
        _check(found[name])
    return Arrived(resolved="", files={path: found[name] for name, path in chosen.items()}, keep="copy")


def _check(path: Path) -> None:
    if not path.exists():
        raise DownloadError("a link that leads nowhere", where=path, hint="restore the file it points at, or remove it")
    if not path.is_file():
        raise DownloadError("is not a plain file", where=path, hint="leave only files in the directory of weights")
