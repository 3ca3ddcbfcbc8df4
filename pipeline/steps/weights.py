"""The `weights` step: the files of a model, as its source has them, held to `slipway.lock`.

Run by `pipeline.engine`; translates between a job and `pipeline.weights`.
"""

from __future__ import annotations

from typing import Any

from pipeline.action import Job, Json
from pipeline.weights.fetch import fetch, kind_of


def run(job: Job[Any]) -> dict[str, Json]:
    """Have the weights of one model as outputs.

    Parameters: `{"model", "source", "lock": entry of slipway.lock or null}`; input `path` for a source of that kind.

    Returns:
        Facts: `kind`, `resolved` (commit or version), `files` (how many), `bytes`, and `lock`: the entry of
        `slipway.lock` that pins what is now in `out` (null for a `path`). Whoever runs the step writes it there when
        the parameters had none.

    Raises:
        DownloadError: it cannot be had, or is not what the lock promises.
        StoreError: the disk is full or closed.
        ToolMissing: pip or huggingface_hub is not there.
    """
    source = job.params["source"]

    def report(done: float, total: float | None) -> None:
        job.services.progress(done, total, "bytes")

    fetched = fetch(
        job.params["model"],
        source,
        locked=job.params.get("lock"),
        path=job.inputs.get("path"),
        out=job.out,
        log=job.log,
        progress=report,
    )
    entry = fetched.entry
    for path, file in fetched.files.items():
        job.adopt(path, file, entry.files[path])
    size = sum(digest.size for digest in entry.files.values())
    report(size, size)
    kind = kind_of(source)
    return {
        "kind": kind,
        "resolved": entry.resolved,
        "files": len(entry.files),
        "bytes": size,
        "lock": entry.to_json() if kind != "path" else None,
    }
