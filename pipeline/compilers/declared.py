"""What the code of a model may read: that which the key of its action names, and nothing else.

Steps say it to the worker, where `confinement` holds the code to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Job


@dataclass(frozen=True)
class Declared:
    """Absolute paths.

    Attributes:
        source: the file with the model, or with its check; links are resolved.
        files: the source and what it leads to -> the SHA-256 that is in the key.
        data: other files, and directories with all that is in them.
    """

    source: str
    files: Mapping[str, str]
    data: tuple[str, ...] = ()


def declared(job: Job[object], role: str, *given: Path | None) -> Declared:
    """What the code of a model's source or check may read; `given` is what it is handed besides: weights."""
    files: dict[str, str] = {}
    data = [str(path) for path in given if path is not None]
    for name, path in roles.with_reads(role, job.inputs).items():
        files |= {str(path.parent / inner): sha256 for inner, sha256 in job.digests.get(name, {}).items()}
        data.append(str(path))
    return Declared(str(job.inputs[role]), files, tuple(data))
