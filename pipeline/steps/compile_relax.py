"""Compiles a model variant with TVM's Relax into two objects, `<prefix>lib0.o` and `<prefix>devc.o`: step `compile`.

The work is done in the toolchain's worker by `pipeline.compilers.relax`, in two parts: backends that differ in their
host only (a phone, its simulator, two kinds of Catalyst) ask for the same first part, which the worker does once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipeline import roles
from pipeline.action import Job, Json, Stage
from pipeline.compilers.shaders import shaders
from pipeline.documents.codec import encode
from pipeline.documents.probe import read_probe
from pipeline.matrix.cells import Backend, ModelRef, SourceRef

HOST_BLIND = frozenset({"metal"})
"""Kinds of device whose lowering no host changes: Metal's hosts all have pointers of 64 bits.

A CPU is its own host. dlight schedules OpenCL otherwise where the host is Android. WebGPU's only host has 32 bits.
"""


@dataclass(frozen=True)
class Params:
    """What the step is given."""

    model: ModelRef
    source: SourceRef
    toolchain: str
    backend: Backend


def run(job: Job[Params]) -> dict[str, Json]:
    """Write the objects and `functions.json`.

    Returns:
        Facts: `bytes` of both objects, `functions` (how many), `lower_cpu` and `codegen_cpu` in seconds, and
        `schedule`, which says where a device's usual schedule could not be had; for Metal `kernels`, and how many of
        them were compiled here.

    Raises:
        StepError: the model or the device is wrong, or the compiler refused it.
        CompilerCrash: the compiler died of it.
        ToolMissing: this machine has no Metal compiler where one is asked for.
    """
    backend = job.params.backend
    worker = job.services.worker(job.params.toolchain)
    stage = Stage(lower, lowering(job))
    arguments: dict[str, Json] = {"triple": backend.triple, "out": str(job.out)}
    compiled_here = shaders(job, backend)
    if compiled_here is not None:
        arguments["shaders"] = compiled_here
    facts = worker.call(codegen, arguments, log=job.log, after=stage)
    return cast("dict[str, Json]", facts)


def lowering(job: Job[Params]) -> dict[str, Json]:
    """Return the arguments of the shared part: equal for backends that differ in their host only."""
    backend, source, config = job.params.backend, job.inputs["source"], job.inputs.get("config")
    device = dict(backend.device)
    # The directory is a view made for this job alone; the files it shows are the same for all.
    files = None if config is None else {str(path.relative_to(config)): path.resolve() for path in _files(config)}
    code = source if source.is_dir() else source.parent
    return {
        "model": encode(job.params.model),
        "source": encode(job.params.source),
        "path": str(source),
        "config": None if files is None else {name: str(path) for name, path in files.items()},
        "seen": [
            _stamp(path)
            for path in sorted({source, *code.glob("*.py"), *(files or {}).values(), *_read_besides(job)})
            if path.exists()
        ],
        "device": device,
        "triple": None if device["kind"] in HOST_BLIND else backend.triple,
        "metal_simdgroup": device["kind"] == "metal" and read_probe(job.inputs["toolchain"]).metal_simdgroup,
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read_besides(job: Job[Params]) -> list[Path]:
    """What the recipe says that it reads; of a directory everything."""
    named = roles.read_by(roles.SOURCE, job.inputs)
    return [file for path in named for file in ([path] if path.is_file() else _files(path))]


def _stamp(path: Path) -> list[Json]:
    """Tell a file from what it was before it was edited."""
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino]


def lower(**arguments: Json) -> Any:
    """What the worker runs once for all backends that share it: see `compilers.relax.lower`."""
    from pipeline.compilers import relax  # noqa: PLC0415 - TVM is in the worker only

    return relax.lower(**arguments)


def codegen(state: Any, **arguments: Json) -> Json:
    """What the worker runs for each backend: see `compilers.relax.codegen`."""
    from pipeline.compilers import relax  # noqa: PLC0415 - TVM is in the worker only

    return relax.codegen(state, **arguments)
