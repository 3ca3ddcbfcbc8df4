"""Steps `gen_config` and `convert_weight`: a raw checkpoint in MLC's form, once for all backends that need the same.

`pipeline.engine` calls them; the work is done in the toolchain's worker by `pipeline.compilers.mlc_convert`.
"""

from __future__ import annotations

from pipeline.action import Facts, Job
from pipeline.compilers import mlc_convert
from pipeline.compilers.mlc_convert import Conversion, convert


def gen_config(job: Job[Conversion]) -> Facts:
    """Write the config and the tokenizer of a raw checkpoint in MLC's form: `mlc_llm gen_config`.

    Returns:
        Facts: `model_type`, `quantization`, `files` (how many) and `bytes`.

    Raises:
        StepError: the weights are no raw checkpoint, or mlc_llm refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    return convert(job, mlc_convert.gen_config)


def convert_weight(job: Job[Conversion]) -> Facts:
    """Quantize the tensors of a raw checkpoint into MLC's form: `mlc_llm convert_weight`.

    Returns:
        Facts: `files` (how many) and `bytes`.

    Raises:
        StepError: the weights are no raw checkpoint, or mlc_llm refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    return convert(job, mlc_convert.convert_weight)
