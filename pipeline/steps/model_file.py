"""Step `bundle` of a model that is a file for another runtime: read, checked, and bundled as it is.

The engine runs it for each GGUF and LiteRT model. Only headers are read; the digest of the file is in the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.gguf import read_gguf
from pipeline.binary.tflite import read_litert
from pipeline.documents.codec import dumps
from pipeline.documents.manifest import ModelFile
from pipeline.errors import FormatError, StepError
from pipeline.files import Digest
from pipeline.matrix.source import FileKind, demand_pinned


@dataclass(frozen=True)
class Params:
    """What the step is given: a model, what it must be, and hash to, where targets.yaml pins that alone."""

    model: str
    kind: FileKind
    sha256: str | None = None


def run(job: Job[Params]) -> Facts:
    """Put the file, and `model.json` that says what it is, into one directory.

    Raises:
        StepError: there is no file or there are several, or it is not the one that is pinned.
        FormatError: it is not what it should be, or it is cut.
    """
    params = job.params
    files = job.files(roles.WEIGHTS)
    if len(files) != 1:
        names = ", ".join(name for name, _ in files[:4])
        raise StepError(
            f"the source of {params.model} has {len(files)} files, not one: {names}",
            hint=f"name the one with the model: `{params.kind}: {{…, file: …}}` in targets.yaml",
        )
    path, file = files[0]
    digest = job.digest_of(roles.WEIGHTS, path)
    demand_pinned(path, digest.sha256, params.sha256)
    name = path.rpartition("/")[2]
    try:
        described = _described(params, name, file, digest)
    except FormatError as error:  # the link to it says nothing to anyone
        raise FormatError(f"{name}: {error.what}", hint=error.hint) from error
    if name == ModelFile.NAME:
        raise StepError(
            f"the file of {params.model} is called {ModelFile.NAME}, which says what a model is", hint="rename it"
        )
    job.adopt(name, file, digest)
    job.write(ModelFile.NAME, dumps(described))
    return {"file": name, "bytes": digest.size, "runtime": described.runtime, "format": described.format}


def _described(params: Params, name: str, file: Path, digest: Digest) -> ModelFile:
    if params.kind == "gguf":
        return ModelFile(params.model, "llama.cpp", "gguf", name, digest.size, digest.sha256, gguf=read_gguf(file))
    litert = read_litert(file)
    form: Literal["tflite", "task"] = "tflite" if litert.parts is None else "task"
    return ModelFile(params.model, "LiteRT", form, name, digest.size, digest.sha256, litert=litert)
