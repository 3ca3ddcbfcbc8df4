"""What the two conversions of a raw checkpoint have in common: what they are given, and that it must be a checkpoint.

`gen_config` and `convert_weight` call it. `pipeline.compilers.mlc_convert` does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.documents.probe import read_probe
from pipeline.errors import StepError

from .mlc_refusals import check_model_type, mlc_of


@dataclass(frozen=True)
class Conversion:
    """What both steps are given: the options of the variant that they take, and the toolchain that does it."""

    options: Mapping[str, object]
    toolchain: str


def convert(job: Job[Conversion], function: Callable[..., Facts]) -> Facts:
    """Have the toolchain's worker call a function of `pipeline.compilers.mlc_convert`; return its facts.

    Raises:
        StepError: the weights are no raw checkpoint, of a kind that mlc_llm does not know, or it refused them.
        ToolMissing: the toolchain has no mlc_llm.
    """
    name = job.params.toolchain
    found = mlc_of(read_probe(job.inputs[roles.TOOLCHAIN]), name)
    if (model_type := job.params.options.get("model_type")) is not None:
        check_model_type(str(model_type), name, found)
    work = partial(
        function,
        kind=found.kind,
        checkpoint=_raw_checkpoint(job),
        options=dict(job.params.options),
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
    if (folder / CHAT_CONFIG).is_file():
        raise StepError(
            f"these weights are in MLC's form already: they have {CHAT_CONFIG}",
            hint="remove `conv_template` (and `quantization`) from the variant",
        )
    if not (folder / "config.json").is_file():
        raise StepError(
            "these weights are no checkpoint: they have no config.json",
            hint="let `weights` name a repository or directory as transformers writes it; `subdir` names a part of one",
        )
    return folder
