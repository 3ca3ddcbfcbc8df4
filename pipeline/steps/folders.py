"""What is in a directory, in an order that never varies, and the digest of a file.

The steps that copy, pack or list directories call it. Knows the file system only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield `(relative path with forward slashes, path)` of every file, sorted. Links to files count as files."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(found):
        yield name, found[name]


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
