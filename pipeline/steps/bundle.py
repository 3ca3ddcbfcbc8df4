"""Step `bundle`: what a model needs beside its library at run time, in one directory an app can ship.

`run` calls it for each model variant: the tensor cache, and the tokenizer and configuration files of its weights.
Nothing is copied where a hard link will do: parameters are gigabytes. Must not know what the files mean.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline import roles
from pipeline.action import Job, Json
from pipeline.errors import StepError
from pipeline.files import files_below, sha256_path
from pipeline.matrix.cells import ModelRef


@dataclass(frozen=True)
class Params:
    """What the step is given: the model, and patterns of the files that an app needs of its weights."""

    model: ModelRef
    files: tuple[str, ...]


def run(job: Job[Params]) -> dict[str, Json]:
    """Link the parameters, and those files of the weights that match a pattern, into one directory.

    A pattern that matches nothing is fine, since one list serves many kinds of tokenizer; an empty bundle is not.

    Raises:
        StepError: nothing to ship, or the two sources hold different files of one name.
    """
    patterns = job.params.files
    chosen: dict[str, Path] = {}
    if roles.PARAMS in job.inputs:
        chosen.update(files_below(job.inputs[roles.PARAMS]))
    matched: set[str] = set()
    if roles.WEIGHTS in job.inputs:
        for name, path in files_below(job.inputs[roles.WEIGHTS]):
            hits = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
            if not hits:
                continue
            matched.update(hits)
            other = chosen.setdefault(name, path)
            if other is not path and sha256_path(other) != sha256_path(path):
                raise StepError(
                    f"{name} is in the parameters and in the weights of {job.params.model.subject}, and differs",
                    hint=f"narrow the patterns of its bundle ({', '.join(hits)}) so that {name} is taken once",
                )
    if not chosen:
        raise StepError(
            f"nothing to bundle for {job.params.model.subject}: it has no parameters, and none of its files "
            f"matches {', '.join(patterns) or 'the empty list of patterns'}",
            hint="name the files an app needs in the model's `bundle`",
        )
    copied = sum(not link(path, job.out / name) for name, path in chosen.items())
    size = sum(path.stat().st_size for path in chosen.values())
    return {"files": len(chosen), "bytes": size, "copied": copied, "unmatched": sorted(set(patterns) - matched)}


def link(source: Path, target: Path) -> bool:
    """Make `target` the same file as `source`, or a copy where the file system can not; return whether it is a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    real = source.resolve()  # a hard link to a symbolic link would be a symbolic link
    try:
        os.link(real, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(real, target)
        return False
    return True
