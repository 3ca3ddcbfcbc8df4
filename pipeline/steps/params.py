"""Writes the parameters of a model variant, once for all its backends, in the format that MLC's runtimes load.

The work is done in the toolchain's worker by `pipeline.compilers.parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pipeline.action import Job, Json
from pipeline.documents.codec import encode
from pipeline.files import Digest
from pipeline.matrix.cells import ModelRef, SourceRef


@dataclass(frozen=True)
class Params:
    """What the step is given."""

    model: ModelRef
    source: SourceRef
    toolchain: str


def run(job: Job[Params]) -> dict[str, Json]:
    """Write `params_shard_N.bin` and `tensor-cache.json`.

    Returns:
        Facts: how many `tensors`, `bytes` and `shards` there are.

    Raises:
        StepError: the source, or one of its parameters, cannot be read.
        FormatError: a parameter is nothing that the format can hold.
    """
    weights = job.inputs.get("weights")
    arguments = {
        "model": encode(job.params.model),
        "source": encode(job.params.source),
        "path": str(job.inputs["source"]),
        "weights": str(weights) if weights else None,
        "out": str(job.out),
    }
    worker = job.services.worker(job.params.toolchain)
    facts = cast("dict[str, Json]", worker.call(write, arguments, log=job.log))
    for name, sha256 in facts.pop("digests").items():
        job.adopt(name, job.out / name, Digest(sha256, (job.out / name).stat().st_size))
    return facts


def write(**arguments: Json) -> Json:
    """What the worker runs: see `compilers.parameters.write`."""
    from pipeline.compilers import parameters  # noqa: PLC0415 - TVM is in the worker only

    return parameters.write(**arguments)
