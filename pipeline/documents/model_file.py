"""`model.json`: what a model is that was not compiled here, beside its file in a bundle; also in `manifest.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.binary.gguf import Gguf
from pipeline.binary.tflite import Litert

from .codec import Document

Runtime = Literal["llama.cpp", "LiteRT"]


@dataclass(frozen=True)
class ModelFile(Document):
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

    NAME = "model.json"

    name: str
    runtime: Runtime
    format: Literal["gguf", "tflite", "task"]
    file: str
    size: int
    sha256: str
    gguf: Gguf | None = None
    litert: Litert | None = None
