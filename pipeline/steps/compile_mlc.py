"""Compiles a model of mlc_llm's into two objects, after looking whether it can be done at all: step `compile`.

`pipeline.compilers.mlc` does the work in the toolchain's worker. A question that probe.json answers is answered here,
before a program is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.compilers import mlc
from pipeline.compilers.devices import check_device
from pipeline.compilers.mlc_refusals import check_model_type, known_faults, mlc_of, other_type
from pipeline.compilers.shaders import shaders
from pipeline.documents import chat_config
from pipeline.documents.chat_config import read_chat_config
from pipeline.documents.probe import read_probe
from pipeline.errors import StepError
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.matrix.source import SourceRef


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
        Facts: `bytes`, `functions` (how many), and what mlc_llm says of the library; see `compilers.mlc`.

    Raises:
        StepError: the weights are not converted, the toolchain does not know the model, or mlc_llm refused it.
        CompilerCrash: mlc_llm died of it.
        ToolMissing: the toolchain has no mlc_llm, or this machine no Metal compiler where one is asked for.
    """
    worker = job.services.worker(job.params.toolchain)
    made = worker.call(compilation(job), log=job.log)
    chat, options = read_chat_config(job.inputs[roles.CONFIG], job.params.model.model), job.params.model.options
    model_type = str(options.get("model_type", chat.get("model_type")))
    faults = known_faults(model_type, chat, options.get("overrides", {}))
    notes = [note for note in (faults, other_type(options.get("model_type"), chat)) if note is not None]
    return {**made, "note": "; ".join(notes)} if notes else made


def compilation(job: Job[Params]) -> partial[Facts]:
    """What the worker is asked to do.

    Raises:
        StepError: the weights are not converted, or the toolchain does not know the model.
        ToolMissing: the toolchain has no mlc_llm, or this machine no Metal compiler where one is asked for.
    """
    model, backend, name = job.params.model, job.params.backend, job.params.toolchain
    folder = job.inputs[roles.CONFIG]
    chat = read_chat_config(folder, model.model)
    probe = read_probe(job.inputs[roles.TOOLCHAIN])
    found = mlc_of(probe, name)
    check_device(probe, name, backend)
    model_type = str(model.options.get("model_type", chat.get("model_type")))
    check_model_type(model_type, name, found)
    quantization = model.options.get("quantization", chat.get("quantization"))
    if found.quantizations is not None and quantization not in found.quantizations:
        raise StepError(
            f"toolchain {name} does not know the quantization {quantization!r} of {model.model}",
            hint=f"use weights in one that it knows: {', '.join(found.quantizations)}",
        )
    return partial(
        mlc.compile_model,
        kind=found.kind,
        config=folder / chat_config.NAME,
        model=model,
        backend=backend,
        named_for=job.params.named_for,
        metal_simdgroup=probe.metal_simdgroup,
        shaders=shaders(job, backend),
        out=job.out,
        log=job.log,
    )
