"""Puts what mlc_llm says when it fails into a sentence with a hint.

`mlc` and `mlc_convert` ask. The messages looked for are those of its releases of 2024 to 2026; what is not known is
shown as it is, with its last lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pipeline.documents.probe import MlcProbe, Probe
from pipeline.errors import StepError, ToolMissing
from pipeline.process import Finished

from .metallib import INSTALL

_LAST = 8


def explain(done: Finished, step: str) -> StepError:
    """The error for a run of mlc_llm that failed, or ended well and left nothing."""
    for pattern, meaning in _MEANINGS.items():
        if found := re.search(pattern, done.output):
            return meaning(step, *found.groups())
    ended = f"was ended by signal {-done.status}" if done.status < 0 else f"ended with status {done.status}"
    if done.status == 0:
        ended = "ended well and left no output"
    tail = "\n    ".join(done.output.strip().splitlines()[-_LAST:])
    return StepError(f"mlc_llm {step} {ended}:\n    {tail}", hint="the log has all that it said")


def unknown_architecture(model_type: str, toolchain: str | None, known: Sequence[str]) -> StepError:
    """The error for a kind of model that mlc_llm cannot compile."""
    whose = f"toolchain {toolchain}" if toolchain else "this mlc_llm"
    return StepError(
        f"{whose} does not know the architecture {model_type!r}; it knows {', '.join(sorted(known))}",
        hint="use a toolchain with a newer mlc_llm; or take objects that somebody compiled with one: `prebuilt:` in "
        "place of `compiler: mlc`, with the files' `system_lib_prefix`",
    )


def missing(where: str) -> ToolMissing:
    """The error for an environment without mlc_llm."""
    return ToolMissing(
        f"there is no mlc_llm for {where}",
        hint="give the model a `toolchain` that has it: requirements [mlc-llm-nightly-cpu, mlc-ai-nightly-cpu] with "
        "find_links [https://mlc.ai/wheels] and pre: true; or an environment that exists (`path`), or a checkout "
        "(`source`)",
    )


def _choice(_step: str, option: str, value: str, choices: str) -> StepError:
    if option == "--model-type":
        return unknown_architecture(value, None, _words(choices))
    known = ", ".join(_words(choices))
    return StepError(f"this mlc_llm knows no {option.removeprefix('--')} {value!r}", hint=f"use one of {known}")


def _no_library(step: str, function: str) -> StepError:
    return ToolMissing(
        f"mlc_llm {step} needs the C++ library of mlc_llm ({function}), and this checkout has none",
        hint="build it (cmake in the checkout), or use a wheel of mlc_llm; or convert the weights once where there is "
        "one, and name the converted weights",
    )


def _no_module(step: str, module: str) -> StepError:
    package = module.partition(".")[0]
    return ToolMissing(
        f"mlc_llm {step} needs the package {package}, which its environment has not",
        hint=f"install it there: pip install {package}",
    )


def _words(listed: str) -> list[str]:
    return [word.strip().strip("'\"") for word in listed.split(",")]


_MEANINGS: Mapping[str, Callable[..., StepError]] = {
    r"Unknown model type: (\S+?)\.? Available ones: \[([^\]]*)\]": lambda _step, model_type, known: (
        unknown_architecture(model_type, None, _words(known))
    ),
    r"argument (--[a-z-]+): invalid choice: '([^']*)' \(choose from ([^)]*)\)": _choice,
    r"module 'mlc_llm[^']*_ffi_api' has no attribute '(\w+)'": _no_library,
    r"slipway: no Metal compiler: (.*)": lambda _step, said: ToolMissing(said, hint=INSTALL),
    r"slipway: a Metal kernel does not compile: (.*)": lambda _step, said: StepError(
        f"a Metal kernel does not compile: {said}",
        hint="see the log for the kernel; with `kernels: source` the device compiles it",
    ),
    r"ModuleNotFoundError: No module named '([^']+)'": _no_module,
}
"""What mlc_llm says -> what is meant by it."""


def mlc_of(probe: Probe, name: str) -> MlcProbe:
    """What a toolchain's probe says of its mlc_llm.

    Raises:
        ToolMissing: there is none.
    """
    if probe.mlc is None:
        raise missing(f"toolchain {name}")
    return probe.mlc
