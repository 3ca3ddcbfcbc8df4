"""Puts what mlc_llm says when it fails into a sentence with a cure.

`mlc` and `mlc_convert` ask. The messages looked for are those of its releases of 2024 to 2026; what is not known is
shown as it is, with its last lines.
"""

from __future__ import annotations

import re

from pipeline.errors import StepError, ToolMissing
from pipeline.process import Finished

_UNKNOWN_MODEL = re.compile(r"Unknown model type: (\S+?)\.? Available ones: \[([^\]]*)\]")
_INVALID_CHOICE = re.compile(r"argument (--[a-z-]+): invalid choice: '([^']*)' \(choose from ([^)]*)\)")
_LAST = 8


def explain(done: Finished, step: str) -> StepError:
    """The error for a run of mlc_llm that failed, or ended well and left nothing."""
    if known := _UNKNOWN_MODEL.search(done.output):
        return unknown_architecture(known[1], None, _words(known[2]))
    if choice := _INVALID_CHOICE.search(done.output):
        name, value, choices = choice[1], choice[2], _words(choice[3])
        if name == "--model-type":
            return unknown_architecture(value, None, choices)
        return StepError(
            f"this mlc_llm knows no {name.removeprefix('--')} {value!r}", cure=f"use one of {', '.join(choices)}"
        )
    tail = "\n    ".join(done.output.strip().splitlines()[-_LAST:])
    if done.status == 0:
        return StepError(f"mlc_llm {step} ended well and left no output:\n    {tail}", cure="see the log")
    if done.status < 0:
        return StepError(f"mlc_llm {step} was ended by signal {-done.status}:\n    {tail}", cure="see the log")
    return StepError(f"mlc_llm {step} ended with status {done.status}:\n    {tail}", cure="see the log")


def unknown_architecture(model_type: str, toolchain: str | None, known: list[str]) -> StepError:
    """The error for a kind of model that mlc_llm cannot compile."""
    whose = f"toolchain {toolchain}" if toolchain else "this mlc_llm"
    return StepError(
        f"{whose} does not know the architecture {model_type!r}; it knows {', '.join(sorted(known))}",
        cure="use a toolchain with a newer mlc_llm; or take objects that somebody compiled with one: `prebuilt:` in "
        "place of `compiler: mlc`, with the files' `system_lib_prefix`",
    )


def missing(where: str) -> ToolMissing:
    """The error for an environment without mlc_llm."""
    return ToolMissing(
        f"there is no mlc_llm for {where}",
        cure="give the model a `toolchain` that has it: requirements [mlc-llm-nightly-cpu, mlc-ai-nightly-cpu] with "
        "find_links [https://mlc.ai/wheels] and pre: true; or an environment that exists (`path`), or a checkout "
        "(`source`)",
    )


def _words(listed: str) -> list[str]:
    return [word.strip().strip("'\"") for word in listed.split(",")]
