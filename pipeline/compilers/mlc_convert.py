"""Turns a raw checkpoint into MLC's form, with `mlc_llm gen_config` and `convert_weight`, once for all backends.

The steps of these names call `convert`, which has the toolchain's worker call one of the other two. What a shard is
and which files a tokenizer has is mlc_llm's business.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline import process, roles
from pipeline.action import Facts, Job
from pipeline.documents.chat_config import NAME as CONFIG
from pipeline.documents.codec import decode
from pipeline.documents.probe import read_probe
from pipeline.errors import StepError

from . import mlc_convert_driver, mlc_environment, mlc_refusals

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


def convert(job: Job[Conversion], function: Callable[..., Facts]) -> Facts:
    """Have the toolchain's worker call `gen_config` or `convert_weight`; return its facts.

    Raises:
        StepError: the weights are no raw checkpoint, of a kind that mlc_llm does not know, or it refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    name = job.params.toolchain
    found = mlc_refusals.mlc_of(read_probe(job.inputs[roles.TOOLCHAIN]), name)
    options: Options = decode(Options, job.params.options, "options")
    if options.model_type is not None:
        mlc_refusals.check_model_type(options.model_type, name, found)
    work = partial(
        function,
        kind=found.kind,
        checkpoint=_raw_checkpoint(job),
        options=options,
        out=job.out,
        log=job.log,
    )
    return job.services.worker(name).call(work, log=job.log)


def _raw_checkpoint(job: Job[Conversion]) -> Path:
    """The directory of a raw checkpoint.

    Raises:
        StepError: it has no config, or is converted already.
    """
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


def gen_config(*, kind: str, checkpoint: Path, options: Options, out: Path, log: Path) -> Facts:
    """Write `mlc-chat-config.json` and the tokenizer's files.

    Args:
        kind: what mlc_llm is here; see `mlc_probe.describe`.
        checkpoint: directory with the checkpoint's small files.
        options: of the variant.
        out: an existing directory.
        log: file that gets what mlc_llm is told and says.

    Raises:
        StepError: mlc_llm refused the checkpoint.
        ToolMissing: there is no mlc_llm.
    """
    words = ["gen_config", str(checkpoint), *_common(options), "--conv-template", options.conv_template]
    for name, value in options.gen_config.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    _run(kind, [*words, "--output", str(out)], out, (CONFIG,), log)
    chat = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    return {"model_type": chat.get("model_type"), "quantization": chat.get("quantization"), **_sizes(out)}


def convert_weight(*, kind: str, checkpoint: Path, options: Options, out: Path, log: Path) -> Facts:
    """Write the quantized parameters.

    Args:
        kind: what mlc_llm is here; see `mlc_probe.describe`.
        checkpoint: directory with the checkpoint.
        options: of the variant.
        out: an existing directory.
        log: file that gets what mlc_llm is told and says.

    Raises:
        StepError: mlc_llm refused the checkpoint.
        ToolMissing: there is no mlc_llm.
    """
    words = ["convert_weight", str(checkpoint), *_common(options), "--device", "cpu"]
    if options.source_format is not None:
        words += ["--source-format", options.source_format]
    _run(kind, [*words, "--output", str(out)], out, INDEXES, log)
    return _sizes(out)


def _common(options: Options) -> list[str]:
    words = ["--quantization", options.quantization]
    return words if options.model_type is None else [*words, "--model-type", options.model_type]


def _run(kind: str, words: list[str], out: Path, expected: tuple[str, ...], log: Path) -> None:
    """Run mlc_llm; success is status 0 and one of the expected files."""
    if kind == "package":
        program: list[str | Path] = [sys.executable, Path(mlc_convert_driver.__file__)]
    else:
        found = mlc_environment.find_program(kind)
        if found is None:
            raise mlc_refusals.missing(sys.executable)
        program = [found]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        # One run for all backends, with nothing beside it that needs the processors more.
        threads = {"TVM_NUM_THREADS": str(os.cpu_count() or 1)}
        settings = {**mlc_environment.variables(scratch), **threads}
        done = process.run([*program, *words], cwd=scratch, env=settings, check=False, log=log)
    if done.status != 0 or not any((out / name).is_file() for name in expected):
        raise mlc_refusals.explain(done, words[0])


def _sizes(folder: Path) -> Facts:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}
