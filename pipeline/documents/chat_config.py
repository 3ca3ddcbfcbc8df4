"""`mlc-chat-config.json`, by which a directory of weights is in MLC's form. What is done with mlc models reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import StepError

from . import untrusted

NAME = "mlc-chat-config.json"

NOT_CONVERTED = (
    "name a converted repository (…-MLC); or, for a raw checkpoint, give the variant `conv_template` and "
    "`quantization`, and it is converted"
)
"""The hint for weights without one."""


def model_config(chat: Mapping[str, object]) -> Mapping[str, object]:
    """The fields of the model's own class; none where there are none."""
    fields = chat.get("model_config")
    return fields if isinstance(fields, Mapping) else {}


def read_chat_config(folder: Path, model: str) -> Mapping[str, object]:
    """The configuration in a directory of weights; what is in it is mlc_llm's business.

    Raises:
        StepError: there is none, or it is no JSON object.
    """
    path = folder / NAME
    if not path.exists():
        raise StepError(f"the weights of {model} are not in MLC's form: they have no {NAME}", hint=NOT_CONVERTED)
    chat = untrusted.load(path, StepError)
    if not isinstance(chat, dict):
        raise StepError(f"{NAME} of {model} is no JSON object", hint="convert the weights again")
    return chat
