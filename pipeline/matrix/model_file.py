"""A model that is a file for another runtime, GGUF or LiteRT, as a value: `model_files` makes it, the plan reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import Position

from .weights_source import WeightsSource

FileKind = Literal["gguf", "litert"]


@dataclass(frozen=True)
class ModelFile:
    """A model that is not compiled, but bundled as it is.

    Attributes:
        name: of the model.
        kind: what it must be.
        source: where it comes from.
        sha256: what a file of the user's must hash to, where that is pinned.
        where: the place of its source in targets.yaml.
        estimated_vram_bytes: what it takes of a device's memory, where targets.yaml says so.
    """

    name: str
    kind: FileKind
    source: WeightsSource
    sha256: str | None
    where: Position = field(compare=False)
    estimated_vram_bytes: int | None = None
