"""Steps `gen_config` and `convert_weight`: a raw checkpoint in MLC's form, once for all backends that need the same.

`pipeline.engine` calls them; the work is done in the toolchain's worker by `pipeline.compilers.mlc_convert`.
"""

from __future__ import annotations

import json

from pipeline.action import Facts, Job
from pipeline.compilers.mlc_convert import INDEXES, Conversion, convert, options
from pipeline.documents.chat_config import NAME as CONFIG


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
