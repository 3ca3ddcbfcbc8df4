"""The name that `mlc_llm` gives a model's library, worked out without it: apps that have the name keep it.

`mlc_llm package` calls a library `<model type>_<quantization>_<md5>`. The md5 is over the model's configuration, the
overrides, the optimisation flags and the device, as canonical JSON; neither weights nor the versions of TVM and
mlc_llm are in it. `pipeline.plan.library_names` asks for names before anything is compiled; nothing here may import
TVM or mlc_llm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.documents.chat_config import model_config
from pipeline.documents.codec import decode
from pipeline.errors import StepError

from . import mlc_configs

OVERRIDES = (
    "context_window_size",
    "sliding_window_size",
    "prefill_chunk_size",
    "attention_sink_size",
    "max_batch_size",
    "tensor_parallel_shards",
    "pipeline_parallel_stages",
    "disaggregation",
)
"""What `--overrides` of mlc_llm knows, in the order in which it prints them."""

_MINUS_ONE_IS_UNSET = frozenset({"context_window_size", "sliding_window_size", "attention_sink_size"})

_LONGEST = 40
"""Characters of a value that are shown."""

_FLAGS = ("flashinfer", "cublas_gemm", "faster_transformer", "cudagraph", "cutlass", "ipc_allreduce_strategy")
_OFF = {"flashinfer": "0", "cublas_gemm": "0", "faster_transformer": "0", "cudagraph": "0", "cutlass": "0"}
_NONE = {"ipc_allreduce_strategy": "NONE"}
OPTIMISATION: Mapping[str, Mapping[str, str]] = {
    "O0": {**_OFF, **_NONE},
    "O1": {**_OFF, "cublas_gemm": "1", "faster_transformer": "1", "cutlass": "1", **_NONE},
    "O2": {**_OFF, "flashinfer": "1", "cublas_gemm": "1", "cudagraph": "1", "cutlass": "1", **_NONE},
    "O3": {**dict.fromkeys(_OFF, "1"), "ipc_allreduce_strategy": "AUTO"},
}
"""What `--opt O2` and its like stand for. Flags written out begin with `flashinfer` on and all others off."""


@dataclass(frozen=True)
class MlcOptions:
    """Options of `mlc_llm compile`; None is what the weights' config says.

    Attributes:
        quantization: e.g. `q4f16_1`.
        model_type: e.g. `qwen3`.
        opt: `O2`, or flags.
    """

    quantization: str | None = None
    model_type: str | None = None
    opt: str = "O2"
    enable_subgroups: bool = False
    overrides: Mapping[str, object] = field(default_factory=dict)

    @staticmethod
    def of(options: Mapping[str, object]) -> MlcOptions:
        """Those among the options of a variant, which the matrix has checked."""
        return decode(MlcOptions, options, "options")

    def over(self, chat: Mapping[str, object]) -> dict[str, object]:
        """A `mlc-chat-config.json` as this variant has it."""
        said = {"quantization": self.quantization, "model_type": self.model_type}
        return {**chat, **{name: value for name, value in said.items() if value is not None}}


def model_lib(
    config: Mapping[str, object],
    *,
    model_type: str,
    quantization: str,
    device: str,
    overrides: Mapping[str, object] | None = None,
    opt: str = "O2",
) -> str:
    """The name of a library for a device of a package config (`iphone`, `macabi`, `android`).

    `config` has every field of mlc_llm's configuration class for this kind of model, overrides applied; see
    `effective_config`. `opt` is `O2` or like `flashinfer=1;…`.

    Raises:
        StepError: `opt` names a flag that mlc_llm does not have.
    """
    key = {
        "model_config": dict(config),
        "overrides": overrides_text(overrides or {}),
        "opt": opt_text(opt),
        "device": device,
        "model_type": model_type,
        "quantization": quantization,
    }
    text = json.dumps(key, sort_keys=True, indent=2)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return f"{model_type}_{quantization}_{digest}".replace("-", "_")


def prefix(name: str) -> str:
    """The symbol prefix of a library: what mlc_llm's runtime looks for when an app asks for `name`."""
    return name.replace("-", "_") + "_"


def overrides_text(overrides: Mapping[str, object]) -> str:
    """Overrides as `mlc_llm compile --overrides` takes them, in the order of its fields."""
    given = [(name, overrides.get(name)) for name in OVERRIDES]
    return ";".join(
        f"{name}={value}"
        for name, value in given
        if value is not None and not (name in _MINUS_ONE_IS_UNSET and value == -1)
    )


def opt_text(opt: str) -> str:
    """Optimisation flags written out, all of them, in the order in which mlc_llm prints them.

    Raises:
        StepError: a flag or a value that mlc_llm does not have.
    """
    if opt in OPTIMISATION:
        flags = dict(OPTIMISATION[opt])
    else:
        flags = {**_OFF, "flashinfer": "1", **_NONE}
        for word in filter(None, opt.split(";")):
            name, _, value = word.partition("=")
            wanted = ("NONE", "ONESHOT", "TWOSHOT", "AUTO") if name == "ipc_allreduce_strategy" else ("0", "1")
            if name not in _FLAGS or value not in wanted:
                hint = f"write one of {', '.join(OPTIMISATION)}, or flags: {'; '.join(f'{flag}=1' for flag in _FLAGS)}"
                raise StepError(f"`{word}` is no optimisation flag of mlc_llm", hint=hint)
            flags[name] = value
    return ";".join(f"{name}={flags[name]}" for name in _FLAGS)


def effective_config(chat: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """The configuration that mlc_llm compiles with, from a `mlc-chat-config.json` and overrides.

    mlc_llm lays the file's top level over its `model_config`, the overrides over both, and drops what is no field of
    that kind of model. `model_config` has every field there was when the file was made.

    Raises:
        StepError: mlc_llm would refuse it, or it is of a kind that is not known here.
    """
    given = {name: overrides[name] for name in OVERRIDES if overrides.get(name) is not None}
    top = {name: value for name, value in chat.items() if name not in {"model_type", "quantization", "model_config"}}
    if not isinstance(fields := chat["model_config"], Mapping):
        raise TypeError("`model_config` is no object")
    return mlc_configs.effective(str(chat["model_type"]), fields, {**top, **given})


def decisive(chat: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """What of a config the compiled library depends on: models that agree in it can share one.

    Raises:
        StepError: mlc_llm would refuse it.
    """
    kind = str(chat.get("model_type"))
    if kind in mlc_configs.CLASSES:
        config = effective_config(chat, overrides)
    else:  # without the rule of its class, what is written counts
        config = {name: chat.get(name, value) for name, value in model_config(chat).items()} | dict(overrides)
    if kind in mlc_configs.ANY_VOCABULARY:
        config.pop("vocab_size", None)
    return {**config, **{name: chat.get(name) for name in ("model_type", "quantization", "active_vocab_size")}}


def check_shared(chats: Mapping[str, Mapping[str, object]], options: MlcOptions) -> None:
    """Models can have one library only where `mlc_llm` would compile the same one of each.

    `chats` has the `mlc-chat-config.json` of two subjects, whose variants both have the options.

    Raises:
        StepError: it would not, or mlc_llm would refuse one of them.
    """
    one, other = (decisive(options.over(chat), options.overrides) for chat in chats.values())
    if None in {one["active_vocab_size"], other["active_vocab_size"]}:  # a file from before there was such a field
        one["active_vocab_size"] = other["active_vocab_size"] = None
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    if names:
        found = ", ".join(f"{name} ({_brief(one, name)}, {_brief(other, name)})" for name in names)
        raise StepError(
            f"{' and '.join(chats)} are to have one library, and their mlc-chat-config.json differ in what it is "
            f"compiled from: {found}",
            hint="give one of them a `model_lib` of its own: then each is compiled",
        )


def _brief(config: Mapping[str, object], name: str) -> str:
    text = json.dumps(config[name]) if name in config else "absent"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
