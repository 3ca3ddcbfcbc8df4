"""The `weights` step: the files of a model, as its source has them, held to `slipway.lock`.

Run by `pipeline.engine`; translates between a job and `pipeline.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.codec import encode
from pipeline.matrix.source import WeightsSource
from pipeline.weights.checkpoint import refuse_pointers
from pipeline.weights.entry import Entry
from pipeline.weights.fetch import fetch


@dataclass(frozen=True)
class Params:
    """What the step is given: a model, the source of its weights, its entry of slipway.lock; None on first sight."""

    model: str
    source: WeightsSource
    lock: Entry | None


def run(job: Job[Params]) -> Facts:
    """Have the weights of one model as outputs.

    Returns:
        Facts: `kind`, `resolved` (commit or version), `files` (how many), `bytes`, and `lock`: the entry of
        `slipway.lock` that pins what is now in `out` (null for a `path`). Whoever runs the step writes it there when
        the parameters had none.

    Raises:
        DownloadError: it cannot be had, or is not what the lock promises.
        StoreError: the disk is full or closed.
        ToolMissing: pip or huggingface_hub is not there.
    """
    source = job.params.source
    report = partial(job.services.progress, unit="bytes")
    fetched = fetch(
        job.params.model,
        source,
        locked=job.params.lock,
        path=job.inputs.get(roles.PATH),
        out=job.out,
        log=job.log,
        progress=report,
    )
    refuse_pointers(fetched.files)
    entry = fetched.entry
    for path, file in fetched.files.items():
        job.adopt(path, file, entry.files[path].digest)
    size = sum(file.size for file in entry.files.values())
    report(size, size)
    return {
        "kind": source.kind,
        "resolved": entry.resolved,
        "files": len(entry.files),
        "bytes": size,
        "lock": encode(entry) if source.kind != "path" else None,
    }
