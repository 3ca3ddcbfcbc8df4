"""What a variant of an `mlc` model says of its compile, as a value; the plan and the steps of mlc models read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.documents.codec import decode


@dataclass(frozen=True)
class MlcOptions:
    """Options of `mlc_llm compile`; None is what the weights' config says.

    Attributes:
        quantization: e.g. `q4f16_1`.
        model_type: e.g. `qwen3`.
        opt: `O2`, or flags.
        enable_subgroups: for WebGPU.
        overrides: changes to the config.
    """

    quantization: str | None = None
    model_type: str | None = None
    opt: str = "O2"
    enable_subgroups: bool = False
    overrides: Mapping[str, object] = field(default_factory=dict)

    @staticmethod
    def of(options: Mapping[str, object]) -> MlcOptions:
        """Those among the options of a variant, which the matrix has checked."""
        read: MlcOptions = decode(MlcOptions, options, "options")
        return read

    def over(self, chat: Mapping[str, object]) -> dict[str, object]:
        """A `mlc-chat-config.json` as this variant has it."""
        said = {"quantization": self.quantization, "model_type": self.model_type}
        return {**chat, **{name: value for name, value in said.items() if value is not None}}
