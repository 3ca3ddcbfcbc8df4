"""Puts what mlc_llm says when it fails into a sentence with a hint.

`mlc` and the step `convert` ask. The messages looked for are those of its releases of 2024 to 2026; what is not known
is shown as it is, with its last lines.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.documents.chat_config import model_config
from pipeline.documents.probe import MlcProbe, Probe
from pipeline.errors import StepError, ToolMissing
from pipeline.nearest import did_you_mean
from pipeline.process import Finished, signal_name

from .mlc_configs import CLASSES
from .mlc_environment import find_program

_LAST = 8
_BY_SIGNAL = 128
"""What a shell adds to a signal to make a status of it."""

SLIDING_WINDOW = 1024
"""The window of attention layers of kind `mha_sliding`, which is a number in TVM's sources; see quirk TVM-17."""


def explain(done: Finished, step: str) -> StepError:
    """The error for a run of mlc_llm that failed, or ended well and left nothing."""
    if (known := meaning(done.output, step)) is not None:
        return known
    ended, hint = f"ended with status {done.status}", "the log has all that it said"
    died = -done.status if done.status < 0 else done.status - _BY_SIGNAL
    if 0 < died < signal.NSIG:
        ended = f"was ended by signal {died}, {signal_name(died)}"
        hint = "if nobody ended it, the system was short of memory: see its log, and build fewer at once (-n 1)"
    elif done.status == 0:
        ended = "ended well and left no output"
    said = done.output.strip().splitlines()[-_LAST:]
    return StepError("\n    ".join([f"mlc_llm {step} {ended}{':' * bool(said)}", *said]), hint=hint)


def check_model_type(model_type: str, toolchain: str, known: MlcProbe) -> None:
    """A kind of model must be one that the toolchain's mlc_llm knows; what cannot be asked is not refused.

    Raises:
        StepError: it is none.
    """
    if known.architectures is not None and model_type not in known.architectures:
        raise unknown_architecture(model_type, toolchain, known.architectures)


def meaning(said: str, step: str) -> StepError | None:
    """The error that is meant by what mlc_llm says, where that is known."""
    for pattern, meant in _MEANINGS.items():
        if found := re.search(pattern, said):
            return meant(step, *found.groups())
    return None


def unknown_architecture(model_type: str, toolchain: str | None, known: Sequence[str]) -> StepError:
    """The error for a kind of model that mlc_llm cannot compile.

    A name that some mlc_llm knows is no slip: what is nearest to `qwen3` is `qwen2`, which is another model.
    """
    whose = f"toolchain {toolchain}" if toolchain else "this mlc_llm"
    meant = "" if model_type in CLASSES else did_you_mean(model_type, known)
    slip = f"{meant} If not, " if meant else ""
    return StepError(
        f"{whose} does not know the architecture {model_type!r}; it knows {', '.join(sorted(known))}",
        hint=f"{slip}use a toolchain with a newer mlc_llm; or take objects that somebody compiled with one: "
        "`prebuilt:` in place of `compiler: mlc`, with the files' `system_lib_prefix`",
    )


def other_type(told: object, config: Mapping[str, object]) -> str | None:
    """For the table, where a model is compiled as something else than its config says; None where it is not."""
    said = config.get("model_type")
    return None if told is None or said in {None, told} else f"compiled as {told}, and its config says {said}"


def missing(where: str) -> ToolMissing:
    """The error for an environment without mlc_llm."""
    return ToolMissing(
        f"there is no mlc_llm for {where}",
        hint="give the model a `toolchain` that has it: requirements [mlc-llm-nightly-cpu, mlc-ai-nightly-cpu] with "
        "find_links [https://mlc.ai/wheels] and pre: true; or an environment that exists (`path`), or a checkout "
        "(`source`)",
    )


def program(kind: str) -> Path:
    """The program `mlc_llm` of this environment; see `mlc_environment.find_program`.

    Raises:
        ToolMissing: there is none.
    """
    found = find_program(kind)
    if found is None:
        raise missing(sys.executable)
    return found


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


def _unfit(step: str, said: str) -> StepError:
    return ToolMissing(
        f"mlc_llm {step}: this mlc_llm does not fit the TVM beside it: {said.strip()}",
        hint="install both of one week in the toolchain: mlc-llm-nightly-cpu with mlc-ai-nightly-cpu",
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
    r"(AttributeError: .*\btvm\b.*|(?:ImportError|AttributeError): .*'(?:tvm|tvm_ffi)[.'].*)": _unfit,
    r"ModuleNotFoundError: No module named '([^']+)'": _no_module,
}
"""What mlc_llm says -> what is meant by it."""


def known_faults(model_type: str, config: Mapping[str, object], overrides: Mapping[str, object]) -> str | None:
    """What a library will get wrong as far as is known from mlc_llm's and TVM's sources, for the table."""
    fields = model_config(config)
    text = {**fields, **_part(fields, "text_config")}
    window = text.get("sliding_window") or _part(text, "kwargs").get("sliding_window")
    window = window or text.get("sliding_window_size")
    if not model_type.startswith("gemma3") or not isinstance(window, int) or window in {SLIDING_WINDOW, 0, -1}:
        return None
    context = overrides.get("context_window_size") or config.get("context_window_size")
    right = min(window, SLIDING_WINDOW)
    if isinstance(context, int) and 0 < context <= right:
        return None
    return (
        f"KNOWN WRONG beyond {right} tokens: the model's sliding window is {window}, TVM's is always {SLIDING_WINDOW} "
        f"(context_window_size: {right} is right)"
    )


def _part(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = fields.get(name)
    return part if isinstance(part, Mapping) else {}


def mlc_of(probe: Probe, name: str) -> MlcProbe:
    """What a toolchain's probe says of its mlc_llm.

    Raises:
        ToolMissing: there is none.
    """
    if probe.mlc is None:
        raise missing(f"toolchain {name}")
    return probe.mlc
