"""`model.json`: what a model is that was not compiled here, beside its file in a bundle; also in `manifest.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NAME = "model.json"

Runtime = Literal["llama.cpp", "LiteRT"]


@dataclass(frozen=True)
class Gguf:
    """What the header of a GGUF file says; see `binary.gguf`."""

    version: int
    architecture: str
    parameters: int
    quantization: str
    name: str | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class Litert:
    """What a LiteRT model says; see `binary.tflite`. `parts` are the files of a bundle, `model` the one described."""

    version: int
    description: str
    subgraphs: int
    signatures: tuple[str, ...]
    metadata: tuple[str, ...]
    minimum_runtime: str | None = None
    parts: tuple[str, ...] | None = None
    model: str | None = None


@dataclass(frozen=True)
class ModelFile:
    """The whole document.

    Attributes:
        name: of the model in targets.yaml.
        runtime: what loads it.
        format: of the file.
        file: its name.
        size: in bytes.
        sha256: of it.
        gguf, litert: what it says of itself.
    """

    name: str
    runtime: Runtime
    format: Literal["gguf", "tflite", "task"]
    file: str
    size: int
    sha256: str
    gguf: Gguf | None = None
    litert: Litert | None = None
