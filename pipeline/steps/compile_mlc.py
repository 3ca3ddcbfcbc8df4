"""Compiles a model of mlc_llm's into two objects, after looking whether it can be done at all: step `compile`.

The work is done in the toolchain's worker by `pipeline.compilers.mlc_lowering`, in two parts as in `compile_relax`, or
by `pipeline.compilers.mlc` in one. A question that probe.json answers is answered here, before a program is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job, Worker
from pipeline.compilers import mlc
from pipeline.compilers.devices import HOST_BLIND, check_device
from pipeline.compilers.lowered import AskedOfMlc, MlcLowered, Singly
from pipeline.compilers.metallib import shaders
from pipeline.compilers.mlc import Compile
from pipeline.compilers.mlc_names import MlcOptions
from pipeline.compilers.mlc_refusals import check_model_type, known_faults, mlc_of, other_type
from pipeline.documents import chat_config
from pipeline.documents.chat_config import read_chat_config
from pipeline.documents.probe import Probe
from pipeline.errors import StepError
from pipeline.files import look
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.matrix.source import SourceRef

SHARED = {"metal": "iphone"}
"""Kinds of device whose names in mlc_llm share a lowering -> the name that stands for all."""


@dataclass(frozen=True)
class Params:
    """What the step is given; `named_for` is the device whose name in mlc_llm the model's prefix is, or None."""

    model: ModelRef
    source: SourceRef
    toolchain: str
    backend: Backend
    named_for: str | None = None


def run(job: Job[Params]) -> Facts:
    """Write the objects and `functions.json`.

    Returns:
        Facts: `bytes`, `functions` (how many), what mlc_llm says of the library, and what was shared with other
        backends; see `compilers.mlc` and `compilers.mlc_lowering`.

    Raises:
        StepError: the weights are not converted, the toolchain does not know the model, or mlc_llm refused it.
        CompilerCrash: mlc_llm died of it.
        ToolMissing: the toolchain has no mlc_llm, or this machine no Metal compiler where one is asked for.
    """
    made = compiled(job.services.worker(job.params.toolchain), compilation(job), job.out, job.log)
    chat = read_chat_config(job.inputs[roles.CONFIG], job.params.model.model)
    options = MlcOptions.of(job.params.model.options)
    faults = known_faults(str(options.over(chat).get("model_type")), chat, options.overrides)
    notes = [note for note in (faults, other_type(options.model_type, chat)) if note is not None]
    return {**made, "note": "; ".join(notes)} if notes else made


def compiled(worker: Worker, asked: Compile, out: Path, log: Path) -> Facts:
    """The objects, of a lowering that others share; where that cannot be had, of one go, and `singly` says why."""
    made: Facts = {"singly": "mlc_llm is a program here, and no package of the toolchain's Python"}
    if asked.kind == "package":
        made = worker.call(partial(codegen, asked=asked, out=out), log=log, after=lowering(asked))
    if "singly" not in made:
        return made
    alone = worker.call(partial(mlc.compile_model, asked=asked, out=out, log=log), log=log)
    return {**alone, **made}


def compilation(job: Job[Params]) -> Compile:
    """What is to be compiled.

    Raises:
        StepError: the weights are not converted, or the toolchain does not know the model.
        ToolMissing: the toolchain has no mlc_llm, or this machine no Metal compiler where one is asked for.
    """
    model, backend, name = job.params.model, job.params.backend, job.params.toolchain
    folder = job.inputs[roles.CONFIG]
    chat = MlcOptions.of(model.options).over(read_chat_config(folder, model.model))
    probe = Probe.read(job.inputs[roles.TOOLCHAIN])
    found = mlc_of(probe, name)
    check_device(probe, name, backend)
    check_model_type(str(chat.get("model_type")), name, found)
    quantization = chat.get("quantization")
    if found.quantizations is not None and quantization not in found.quantizations:
        raise StepError(
            f"toolchain {name} does not know the quantization {quantization!r} of {model.model}",
            hint=f"use weights in one that it knows: {', '.join(found.quantizations)}",
        )
    return Compile(
        kind=found.kind,
        config=folder / chat_config.NAME,
        model=model,
        backend=backend,
        shaders=shaders(job, backend),
        metal_simdgroup=probe.metal_simdgroup,
        named_for=job.params.named_for,
    )


def lowering(asked: Compile) -> partial[MlcLowered | Singly]:
    """The shared part, which is equal for backends that differ in their host only."""
    backend = asked.backend
    blind = backend.device_kind in HOST_BLIND
    # The directory is a view made for this job alone; the file it shows is the same for all.
    config = asked.config.resolve()
    wanted = AskedOfMlc(
        config=config,
        seen=list(look(config)),
        model=asked.model,
        name=SHARED.get(backend.device_kind, mlc.device(backend)),
        device=backend.device,
        triple=None if blind else backend.triple,
        metal_simdgroup=blind and asked.metal_simdgroup,
    )
    return partial(lower, asked=wanted)


def lower(*, asked: AskedOfMlc) -> MlcLowered | Singly:
    """What the worker runs once for all backends that share it: see `compilers.mlc_lowering.lower`."""
    try:
        from pipeline.compilers import mlc_lowering  # noqa: PLC0415 - TVM is in the worker only
    except ImportError as error:
        return Singly(f"this TVM cannot be taken apart: {error}")
    return mlc_lowering.lower(asked)


def codegen(state: MlcLowered | Singly, *, asked: Compile, out: Path) -> Facts:
    """What the worker runs for each backend: see `compilers.mlc_lowering.codegen`."""
    if isinstance(state, Singly):
        return {"singly": state.why}
    from pipeline.compilers import mlc_lowering  # noqa: PLC0415 - TVM is in the worker only

    return mlc_lowering.codegen(state, asked=asked, out=out)
