"""`dist/manifest.json`: size and SHA-256 of every file in `dist/`, and what each proof came to.

`model.json`, beside its file in a bundle, is in it, too: what a model is that was not compiled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.binary.gguf import Gguf
from pipeline.binary.tflite import Litert

from .codec import Document

SCHEMA = 1

Runtime = Literal["llama.cpp", "LiteRT"]


@dataclass(frozen=True)
class ModelFile(Document):
    """What a model is that was not compiled here.

    Attributes:
        runtime: what loads it.
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


@dataclass(frozen=True)
class ManifestProduct:
    """A product of targets.yaml: its name, kind, and the names of its backends."""

    name: str
    kind: str
    backends: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """The line that a `verify` came to."""

    subject: str
    proven: str


@dataclass(frozen=True)
class ManifestFile:
    """A file of `dist/`; its path is relative to that."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Takes:
    """What a model takes of a device's memory on a backend, or in its runtime; `at_least` where it may be more."""

    model: str
    backend: str
    bytes: int
    at_least: bool = False


@dataclass(frozen=True)
class ManifestDevice:
    """A device of targets.yaml, and what is known of the models for it; the fields are those of `matrix.device`."""

    name: str
    os: str
    ram: int
    usable: int
    backends: tuple[str, ...]
    adb_model: tuple[str, ...] = ()
    takes: tuple[Takes, ...] = ()


@dataclass(frozen=True)
class Manifest(Document):
    """The whole document; files are sorted by path, `models` are those that are files for other runtimes."""

    NAME = "manifest.json"

    schema: int
    products: tuple[ManifestProduct, ...]
    proofs: tuple[Proof, ...]
    files: tuple[ManifestFile, ...]
    models: tuple[ModelFile, ...] | None = None
    devices: tuple[ManifestDevice, ...] | None = None
