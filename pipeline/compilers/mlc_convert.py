"""Turns a raw checkpoint into MLC's form, with `mlc_llm gen_config` and `convert_weight`. Runs inside the worker.

`pipeline.steps.gen_config` and `convert_weight` have the worker call these, once for all backends. What a shard is and
which files a tokenizer has is mlc_llm's business.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline import process
from pipeline.action import Facts
from pipeline.documents.chat_config import NAME as CONFIG

from . import mlc_convert_driver, mlc_environment, mlc_refusals

Options = Mapping[str, object]
"""Options of a variant, as targets.yaml has them; the matrix has checked them."""

INDEXES = ("tensor-cache.json", "ndarray-cache.json")
"""What tells that all shards were written; the second is the name of older releases."""


def gen_config(*, kind: str, checkpoint: Path, options: Options, out: Path, log: Path) -> Facts:
    """Write `mlc-chat-config.json` and the tokenizer's files.

    Args:
        kind: what mlc_llm is here; see `mlc_probe.describe`.
        checkpoint: directory with the checkpoint's small files.
        options: `quantization`, `conv_template`, and maybe `model_type` and `gen_config`.
        out: an existing directory.
        log: file that gets what mlc_llm is told and says.

    Raises:
        StepError: mlc_llm refused the checkpoint.
        ToolMissing: there is no mlc_llm.
    """
    words = ["gen_config", str(checkpoint), *_common(options), "--conv-template", str(options["conv_template"])]
    more = options.get("gen_config")
    for name, value in more.items() if isinstance(more, Mapping) else ():
        words += [f"--{name.replace('_', '-')}", str(value)]
    _run(kind, [*words, "--output", str(out)], out, (CONFIG,), log)
    chat = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    return {"model_type": chat.get("model_type"), "quantization": chat.get("quantization"), **_sizes(out)}


def convert_weight(*, kind: str, checkpoint: Path, options: Options, out: Path, log: Path) -> Facts:
    """Write the quantized parameters.

    Args:
        kind: what mlc_llm is here; see `mlc_probe.describe`.
        checkpoint: directory with the checkpoint.
        options: `quantization`, and maybe `model_type` and `source_format`.
        out: an existing directory.
        log: file that gets what mlc_llm is told and says.

    Raises:
        StepError: mlc_llm refused the checkpoint.
        ToolMissing: there is no mlc_llm.
    """
    words = ["convert_weight", str(checkpoint), *_common(options), "--device", "cpu"]
    if "source_format" in options:
        words += ["--source-format", str(options["source_format"])]
    _run(kind, [*words, "--output", str(out)], out, INDEXES, log)
    return _sizes(out)


def _common(options: Options) -> list[str]:
    words = ["--quantization", str(options["quantization"])]
    return [*words, "--model-type", str(options["model_type"])] if "model_type" in options else words


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
