"""Reads, validates and expands a matrix file: what `project` and the commands call."""

from pathlib import Path

from .expand import expand, without_checkouts
from .loader import read
from .matrix import Matrix


def load(path: Path, *, building: bool = True) -> Matrix:
    """Read a matrix file and expand it.

    Args:
        path: the file, usually `targets.yaml`. Paths written in it are relative to its directory, and positions in
            messages name the file just as it is given here.
        building: whether something is to be built of it. Who only asks what there is needs no checkouts, and gets a
            matrix without toolchains' sources and without a runtime.

    Raises:
        MatrixError: the file is missing or wrong. All problems that can be seen at once are in the one message, sorted
            by position, each with a hint.
    """
    targets, document = read(path)
    return expand(targets if building else without_checkouts(targets), document, path)
