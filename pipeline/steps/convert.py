"""Steps `gen_config` and `convert_weight`: a raw checkpoint in MLC's form, once for all backends that need the same.

They have the toolchain's worker call `run_mlc_llm`; that runs `main` as a program of its own, where mlc_llm is a
package. What a shard is and which files a tokenizer has is mlc_llm's business. One thing is put right, because it
decides how much memory a conversion takes: see `_quantize_in_one_pass`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline import process, roles
from pipeline.action import Facts, Job
from pipeline.compilers import mlc_environment, mlc_refusals
from pipeline.compilers.mlc_environment import Foreign
from pipeline.documents.chat_config import NAME as CONFIG
from pipeline.documents.codec import decode
from pipeline.documents.probe import Probe
from pipeline.errors import StepError
from pipeline.process import Finished

INDEXES = ("tensor-cache.json", "ndarray-cache.json")
"""What tells that all shards were written; the second is the name of older releases."""


@dataclass(frozen=True)
class Conversion:
    """What both steps are given: the options of the variant that they take, and the toolchain that does it."""

    options: Mapping[str, object]
    toolchain: str


@dataclass(frozen=True)
class Options:
    """These options, which the matrix has checked; both steps take the first two."""

    quantization: str
    model_type: str | None = None
    conv_template: str = ""
    gen_config: Mapping[str, object] = field(default_factory=dict)
    source_format: str | None = None


def gen_config(job: Job[Conversion]) -> Facts:
    """Write the config and the tokenizer of a raw checkpoint in MLC's form: `mlc_llm gen_config`.

    Returns:
        Facts: `model_type`, `quantization`, `files` (how many) and `bytes`.

    Raises:
        StepError: the weights are no raw checkpoint, or mlc_llm refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    asked = options(job)
    words = ["--conv-template", asked.conv_template]
    for name, value in asked.gen_config.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    sizes = convert(job, "gen_config", words, (CONFIG,))
    chat = json.loads((job.out / CONFIG).read_text(encoding="utf-8"))
    return {"model_type": chat.get("model_type"), "quantization": chat.get("quantization"), **sizes}


def convert_weight(job: Job[Conversion]) -> Facts:
    """Quantize the tensors of a raw checkpoint into MLC's form: `mlc_llm convert_weight`.

    Returns:
        Facts: `files` (how many) and `bytes`.

    Raises:
        StepError: the weights are no raw checkpoint, or mlc_llm refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    source_format = options(job).source_format
    words = [] if source_format is None else ["--source-format", source_format]
    return convert(job, "convert_weight", ["--device", "cpu", *words], INDEXES)


def options(job: Job[Conversion]) -> Options:
    """The options of a job."""
    return decode(Options, job.params.options, "options")


def convert(job: Job[Conversion], subcommand: str, more: Sequence[str], expected: Sequence[str]) -> Facts:
    """Have a subcommand of mlc_llm convert a raw checkpoint; success is status 0 and one of the expected files.

    Returns:
        Facts: `files` (how many) and `bytes`.

    Raises:
        StepError: the weights are no raw checkpoint, of a kind that mlc_llm does not know, or it refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    name, asked = job.params.toolchain, options(job)
    found = mlc_refusals.mlc_of(Probe.read(job.inputs[roles.TOOLCHAIN]), name)
    words = [subcommand, str(_raw_checkpoint(job)), "--quantization", asked.quantization]
    if asked.model_type is not None:
        mlc_refusals.check_model_type(asked.model_type, name, found)
        words += ["--model-type", asked.model_type]
    work = partial(run_mlc_llm, kind=found.kind, words=[*words, *more, "--output", str(job.out)], log=job.log)
    done = job.services.worker(name).call(work, log=job.log)
    if done.status != 0 or not any((job.out / one).is_file() for one in expected):
        raise mlc_refusals.explain(done, subcommand)
    sizes = [path.stat().st_size for path in job.out.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _raw_checkpoint(job: Job[Conversion]) -> Path:
    """The directory of a raw checkpoint."""
    folder = job.inputs[roles.WEIGHTS]
    if (folder / CONFIG).is_file():
        raise StepError(
            f"these weights are in MLC's form already: they have {CONFIG}",
            hint="remove `conv_template` (and `quantization`) from the variant",
        )
    if not (folder / "config.json").is_file():
        raise StepError(
            "these weights are no checkpoint: they have no config.json",
            hint="let `weights` name a repository or directory as transformers writes it; `subdir` names a part of one",
        )
    return folder


def run_mlc_llm(*, kind: str, words: list[str], log: Path) -> Finished:
    """Run mlc_llm, of a kind that `probe.mlc_llm` knows, in the toolchain's worker; the log gets all that is said.

    Raises:
        ToolMissing: there is no mlc_llm.
    """
    if kind == "package":
        program: list[str | Path] = [*process.package_command(sys.executable, __name__)]
    else:
        program = [mlc_refusals.program(kind)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        # One run for all backends, with nothing beside it that needs the processors more.
        threads = {"TVM_NUM_THREADS": str(os.cpu_count() or 1)}
        settings = {**mlc_environment.variables(scratch), **threads}
        return process.run([*program, *words], cwd=scratch, env=settings, check=False, log=log, inherit=True)


def main(subcommand: str, *words: str) -> None:
    """Run a command of mlc_llm's where its C++ library may be missing: the words are those behind `mlc_llm`."""
    command = mlc_environment.command(subcommand, words)
    if subcommand == "convert_weight":
        # It asks a process of its own whether there is a CPU, and that needs the library, which may be missing.
        importlib.import_module("mlc_llm.support.auto_device")._RESULT_CACHE["cpu:0"] = True  # noqa: SLF001
        _quantize_in_one_pass()
    command.main(list(words))


def _quantize_in_one_pass() -> None:
    """Have a tensor quantized without its numbers standing by in 32 bits each, which take twice what the tensor does.

    mlc_llm gives kernels for CPUs no schedule. Where this release is not as known, they stay as they are.
    """
    try:
        quantization: Foreign = importlib.import_module("mlc_llm.quantization.group_quantization")
        compiled = quantization.compile_quantize_func
        importlib.import_module("tvm.s_tir").Schedule  # noqa: B018 - whether there is one
    except (ImportError, AttributeError):
        return
    quantization.compile_quantize_func = lambda module, *rest, **more: compiled(inlined(module), *rest, **more)


def inlined(module: Foreign) -> Foreign:
    """The module, each of whose kernels computes where it is read what can be computed there."""
    tvm: Foreign = importlib.import_module("tvm")
    made = {}
    try:
        for variable, function in module.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc):
                schedule = tvm.s_tir.Schedule(function)
                for block in schedule.get_child_blocks(schedule.get_sblock("root")):
                    with suppress(tvm.s_tir.ScheduleError):  # a reduction, or the result
                        schedule.compute_inline(block)
                made[variable] = schedule.mod["main"].with_attrs(function.attrs or {})
    except Exception as error:  # noqa: BLE001 - whatever another TVM says: it only takes more memory then
        print(f"quantized in several passes: {error}")  # noqa: T201 - the log
        return module
    for variable, function in made.items():
        module.update_func(variable, function)
    return module
