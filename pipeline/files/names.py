"""Relative paths and names of files: which may be followed, whoever says them."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

NAME_BYTES, PATH_BYTES = 255, 4000
"""What Linux and macOS bear of a name and, less the directory it is in, of a path."""


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


def is_unicode(name: str) -> bool:
    """Whether a file name is UTF-8; bytes that are not come as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def stays_inside(name: str, target: str) -> bool:
    """Whether a symlink at this relative path leads to a place below the directory that the path is relative to.

    `..` may only come first: after a name that is itself a symlink it could lead anywhere.
    """
    parts = target.split("/")
    if len(os.fsencode(target)) > PATH_BYTES or any(len(os.fsencode(part)) > NAME_BYTES for part in parts):
        return False
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and "\0" not in target and parts[0] != "" and ups <= name.count("/") and ".." not in parts[ups:]
