"""Compiles a model variant with TVM's Relax into two objects, `<prefix>lib0.o` and `<prefix>devc.o`: step `compile`.

The work is done in the toolchain's worker by `pipeline.compilers.relax`, in two parts: backends that differ in their
host only (a phone, its simulator, two kinds of Catalyst) ask for the same first part, which the worker does once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.compilers.declared import Declared, declared
from pipeline.compilers.devices import HOST_BLIND, check_device
from pipeline.compilers.lowered import Asked, Lowered
from pipeline.compilers.metallib import Shaders, shaders
from pipeline.documents.probe import Probe
from pipeline.files import look
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.matrix.source import SourceRef


@dataclass(frozen=True)
class Params:
    """What the step is given; `host` is the triple of a twin's host code, where None means the backend's."""

    model: ModelRef
    source: SourceRef
    toolchain: str
    backend: Backend
    host: str | None = None


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
    work = partial(codegen, triple=job.params.host or backend.triple, out=job.out, shaders=shaders(job, backend))
    return worker.call(work, log=job.log, after=lowering(job))


def lowering(job: Job[Params]) -> partial[Lowered]:
    """The shared part, which is equal for backends that differ in their host only."""
    backend, config = job.params.backend, job.inputs.get(roles.CONFIG)
    probe = Probe.read(job.inputs[roles.TOOLCHAIN])
    check_device(probe, job.params.toolchain, backend)
    # The directory is a view made for this job alone; the files it shows are the same for all.
    files = None if config is None else {str(path.relative_to(config)): path.resolve() for path in _files(config)}
    reads = declared(job, roles.SOURCE, *(files or {}).values())
    asked = Asked(
        model=job.params.model,
        source=job.params.source,
        reads=reads,
        config=files,
        seen=[[path, *look(path)] for path in _read(reads)],
        device=backend.device,
        triple=None if backend.device_kind in HOST_BLIND else backend.triple,
        metal_simdgroup=backend.device_kind == "metal" and probe.metal_simdgroup,
    )
    return partial(lower, asked=asked)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read(reads: Declared) -> list[str]:
    """Every file that the source may read: when one has changed, even back and forth, it is lowered again."""
    inside = (str(file) for path in map(Path, reads.data) if path.is_dir() for file in _files(path))
    return sorted({*reads.files, *reads.data, *inside})


def lower(*, asked: Asked) -> Lowered:
    """What the worker runs once for all backends that share it: see `compilers.relax.lower`."""
    from pipeline.compilers import relax  # noqa: PLC0415 - TVM is in the worker only

    return relax.lower(asked)


def codegen(state: Lowered, *, triple: str, out: Path, shaders: Shaders | None) -> Facts:
    """What the worker runs for each backend: see `compilers.relax.codegen`."""
    from pipeline.compilers import relax  # noqa: PLC0415 - TVM is in the worker only

    return relax.codegen(state, triple=triple, out=out, shaders=shaders)
