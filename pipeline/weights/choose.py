"""Which files of a package, an archive or a repository are wanted: `subdir` and `files` of a source.

Called by the sources that find more than they need. A setting that fits nothing is an error with the nearest name,
because a model without its weights must not look like a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pipeline.errors import DownloadError
from pipeline.matrix.source import WeightsSource
from pipeline.nearest import did_you_mean

_EMPTY = "put the files there, or name the place where they are in targets.yaml"


def choose(names: Iterable[str], source: WeightsSource, where: str) -> dict[str, str]:
    """Select names; return name -> path in the result (the name with `subdir` stripped).

    The `files` of the source are fnmatch patterns on what remains, in which `*` also matches `/`; none: everything.

    Raises:
        DownloadError: the directory or a pattern fits nothing.
    """
    everything = sorted(names)
    subdir, patterns = (source.subdir or "").strip("/"), source.files or ("*",)
    prefix = f"{subdir}/" if subdir else ""
    below = {name: name[len(prefix) :] for name in everything if name.startswith(prefix) and name != prefix}
    if not below:
        folders = {str(parent) for name in everything for parent in PurePosixPath(name).parents} - {"."}
        raise DownloadError(
            f"no directory {subdir!r} in it" if prefix else "no files in it",
            where=where,
            hint=f"correct `subdir` in targets.yaml{_nearest(subdir, folders)}" if prefix else _EMPTY,
        )
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in below.values()):
            raise DownloadError(
                f"no file matches {pattern!r}" + (f" under {subdir!r}" if prefix else ""),
                where=where,
                hint=f"correct `files` in targets.yaml{_nearest(pattern, below.values())}",
            )
    return {name: path for name, path in below.items() if any(fnmatchcase(path, pattern) for pattern in patterns)}


def _nearest(wanted: str, names: Iterable[str]) -> str:
    candidates = sorted(names)
    if meant := did_you_mean(wanted, candidates):
        return f"; {meant}"
    shown = ", ".join(candidates[:8]) + (", …" if len(candidates) > 8 else "")  # noqa: PLR2004 (as many as fit a line)
    return f"; there are: {shown}" if shown else ""
