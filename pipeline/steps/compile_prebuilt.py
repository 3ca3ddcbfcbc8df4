"""Takes objects that somebody else compiled as they are: step `compile` of a prebuilt model.

A tar, an archive or a single object is read, never unpacked to disk; whether the objects are for
the backend and have the model's prefix is asked by `archive`, of all objects alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.ar import Member, read_archive
from pipeline.binary.objects import is_object
from pipeline.binary.tar_members import read_tar
from pipeline.compilers import mlc_metadata
from pipeline.errors import StepError
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.matrix.source import SourceRef, demand_pinned
from pipeline.weights.checkpoint import refuse_pointers

_ARCHIVE = b"!<arch>\n"


@dataclass(frozen=True)
class Params:
    """What the step is given."""

    model: ModelRef
    source: SourceRef
    toolchain: str
    backend: Backend


def run(job: Job[Params]) -> Facts:
    """Write the objects, and `functions.json` with what they say about their functions.

    Raises:
        StepError: the file is not the one that is pinned, or holds no object.
        FormatError: it is malformed.
    """
    path = _given(job)
    refuse_pointers({path.name: path})
    data = path.read_bytes()
    got = sha256_bytes(data)
    demand_pinned(path.name, got, job.params.source.sha256, path)
    prefix = job.params.model.prefix
    objects = _objects(path, data)
    if not objects:
        hint = "give the tar that mlc_llm or TVM wrote, an archive (.a), or an object (.o)"
        raise StepError("there is no object file in it", where=path, hint=hint)
    for member in objects:
        name = member.name.rpartition("/")[2]
        place = job.out / (name if name.startswith(prefix) else f"{prefix}{name}")
        if place.exists():  # an archive may hold any number of members called lib0.o
            place = place.with_stem(f"{place.stem}.{len(list(job.out.iterdir()))}")
        place.write_bytes(member.data)
    return {**mlc_metadata.describe(objects, prefix, job.out), "sha256": got}


def _given(job: Job[Params]) -> Path:
    """The file: one of the user's, or the only one that was fetched."""
    path = job.inputs[roles.SOURCE]
    if not path.is_dir():
        return path
    files = job.files(roles.SOURCE)
    if len(files) != 1:
        names = ", ".join(name for name, _ in files[:4])
        hint = "name one of them as `file` in the model's `prebuilt`"
        raise StepError(f"{len(files)} files were fetched, and not one: {names}", hint=hint)
    return files[0][1]


def _objects(path: Path, data: bytes) -> list[Member]:
    if data.startswith(_ARCHIVE):
        members = read_archive(data, path.name, skip_apple_double=True)
    elif is_object(data):
        members = (Member(path.name, data),)
    else:
        members = read_tar(data, path.name)
    return [member for member in members if is_object(member.data)]
