"""What the two conversions of a raw checkpoint have in common: what they are given, and that it must be a checkpoint.

`gen_config` and `convert_weight` call it. `pipeline.compilers.mlc_convert` does the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pipeline.action import Job, Json
from pipeline.errors import StepError
from pipeline.steps.compile_mlc import CONFIG, mlc_of


def convert(job: Job[Any], function: str) -> dict[str, Json]:
    """Have the toolchain's worker call a function of `pipeline.compilers.mlc_convert`; return its facts.

    Raises:
        StepError: the weights are no raw checkpoint, or mlc_llm refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    name = job.params["toolchain"]
    found = mlc_of(job.inputs["toolchain"], name)
    arguments = {
        "kind": found["kind"],
        "checkpoint": str(_raw_checkpoint(job)),
        "options": dict(job.params["options"]),
        "out": str(job.out),
        "log": str(job.log),
    }
    return cast("dict[str, Json]", job.services.worker(name).call(function, arguments, log=job.log))


def _raw_checkpoint(job: Job[Any]) -> Path:
    """The directory of a raw checkpoint.

    Raises:
        StepError: it has no config, or is converted already.
    """
    folder = job.inputs["weights"]
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
