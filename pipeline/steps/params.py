"""Writes the parameters of a model variant, once for all its backends, in the format that MLC's runtimes load.

The work is done in the toolchain's worker by `pipeline.compilers.parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.compilers.declared import Declared, declared
from pipeline.documents.parameters import WrittenCache
from pipeline.files import Digest
from pipeline.matrix.cells import ModelRef
from pipeline.matrix.source import SourceRef


@dataclass(frozen=True)
class Params:
    """What the step is given."""

    model: ModelRef
    source: SourceRef
    toolchain: str


def run(job: Job[Params]) -> Facts:
    """Write `params_shard_N.bin`, `tensor-cache.json`, and for proofs `parameters.json`.

    Returns:
        Facts: how many `tensors`, `bytes` and `shards` there are.

    Raises:
        StepError: the source, or one of its parameters, cannot be read.
        FormatError: a parameter is nothing that the format can hold.
    """
    weights = job.inputs.get(roles.WEIGHTS)
    work = partial(
        write,
        model=job.params.model,
        source=job.params.source,
        reads=declared(job, roles.SOURCE, weights, job.out),
        weights=weights,
        out=job.out,
    )
    written = job.services.worker(job.params.toolchain).call(work, log=job.log)
    for name, sha256 in written.digests.items():
        job.adopt(name, job.out / name, Digest(sha256, (job.out / name).stat().st_size))
    return {"tensors": written.tensors, "bytes": written.bytes, "shards": len(written.digests) - 1}


def write(*, model: ModelRef, source: SourceRef, reads: Declared, weights: Path | None, out: Path) -> WrittenCache:
    """What the worker runs: see `compilers.parameters.write`."""
    from pipeline.compilers import parameters  # noqa: PLC0415 - TVM is in the worker only

    return parameters.write(model=model, source=source, reads=reads, weights=weights, out=out)
