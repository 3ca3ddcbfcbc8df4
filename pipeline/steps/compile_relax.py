"""Compiles a model variant with TVM's Relax into two objects, `<prefix>lib0.o` and `<prefix>devc.o`: step `compile`.

The work is done in the toolchain's worker by `pipeline.compilers.relax`, in two parts: backends that differ in their
host only (a phone, its simulator, two kinds of Catalyst) ask for the same first part, which the worker does once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.compilers.lowered import Lowered
from pipeline.compilers.metallib import Shaders
from pipeline.compilers.mlc_refusals import check_device
from pipeline.compilers.shaders import shaders
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


def run(job: Job[Params]) -> Facts:
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
    work = partial(codegen, triple=backend.triple, out=job.out, shaders=shaders(job, backend))
    return worker.call(work, log=job.log, after=lowering(job))


def lowering(job: Job[Params]) -> partial[Lowered]:
    """The shared part, which is equal for backends that differ in their host only."""
    backend, source, config = job.params.backend, job.inputs["source"], job.inputs.get("config")
    device = dict(backend.device)
    probe = read_probe(job.inputs["toolchain"])
    check_device(probe, job.params.toolchain, backend)
    # The directory is a view made for this job alone; the files it shows are the same for all.
    files = None if config is None else {str(path.relative_to(config)): path.resolve() for path in _files(config)}
    code = source if source.is_dir() else source.parent
    seen = sorted({source, *code.glob("*.py"), *(files or {}).values(), *_read_besides(job)})
    return partial(
        lower,
        model=job.params.model,
        source=job.params.source,
        path=source,
        config=files,
        seen=[_stamp(path) for path in seen if path.exists()],
        device=device,
        triple=None if device["kind"] in HOST_BLIND else backend.triple,
        metal_simdgroup=device["kind"] == "metal" and probe.metal_simdgroup,
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read_besides(job: Job[Params]) -> list[Path]:
    """What the recipe says that it reads; of a directory everything."""
    named = roles.read_by(roles.SOURCE, job.inputs)
    return [file for path in named for file in ([path] if path.is_file() else _files(path))]


def _stamp(path: Path) -> list[object]:
    """Tell a file from what it was before it was edited."""
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino]


def lower(
    *,
    model: ModelRef,
    source: SourceRef,
    path: Path,
    config: Mapping[str, Path] | None,
    seen: Sequence[object],
    device: Mapping[str, object],
    triple: str | None,
    metal_simdgroup: bool,
) -> Lowered:
    """What the worker runs once for all backends that share it: see `compilers.relax.lower`."""
    from pipeline.compilers import relax  # noqa: PLC0415 - TVM is in the worker only

    return relax.lower(
        model=model,
        source=source,
        path=path,
        config=config,
        seen=seen,
        device=device,
        triple=triple,
        metal_simdgroup=metal_simdgroup,
    )


def codegen(state: Lowered, *, triple: str, out: Path, shaders: Shaders | None) -> Facts:
    """What the worker runs for each backend: see `compilers.relax.codegen`."""
    from pipeline.compilers import relax  # noqa: PLC0415 - TVM is in the worker only

    return relax.codegen(state, triple=triple, out=out, shaders=shaders)
