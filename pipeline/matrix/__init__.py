"""The matrix: read, validate and expand `targets.yaml` into values that `plan` can build from.

`plan`, `tasks` and the commands call `load`. Nothing here knows how anything is built. Importing this package is cheap;
YAML and pydantic are imported when a file is really read, because most calls of `doit` have nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from .cells import Matrix


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
    from .expand import expand, without_checkouts  # noqa: PLC0415 - see the module's docstring
    from .loader import read  # noqa: PLC0415 - see the module's docstring

    targets, document = read(path)
    return expand(targets if building else without_checkouts(targets), document, path)
