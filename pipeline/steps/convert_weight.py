"""Quantizes the tensors of a raw checkpoint into MLC's form, once for all backends and variants that need the same.

`pipeline.engine` calls it; the work is done in the toolchain's worker by `pipeline.compilers.mlc_convert`.
"""

from __future__ import annotations

from pipeline.action import Facts, Job
from pipeline.compilers import mlc_convert
from pipeline.compilers.mlc_convert import Conversion, convert


def run(job: Job[Conversion]) -> Facts:
    """Run `mlc_llm convert_weight`.

    Returns:
        Facts: `files` (how many) and `bytes`.

    Raises:
        StepError: the weights are no raw checkpoint, or mlc_llm refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    return convert(job, mlc_convert.convert_weight)
