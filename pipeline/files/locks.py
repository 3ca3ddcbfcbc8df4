"""A lock between the processes of a machine, held while something that many may use is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Wait for the lock, and have it until the block ends. The file stays; a process that dies lets go of it."""
    from filelock import FileLock  # noqa: PLC0415 - planning does not need it

    with FileLock(path):
        yield
