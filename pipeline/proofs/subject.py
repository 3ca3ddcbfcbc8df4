"""What is being proven: a static archive, read once, beside what targets.yaml promised about it.

`pipeline.steps.verify` makes one `Library` and every check reads it. Must not know checks or linkers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.action import Json
from pipeline.binary.ar import read_archive
from pipeline.binary.object_info import Format, ObjectInfo
from pipeline.binary.objects import read_object

_ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64", "wasm32": "wasm"}


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a library is to run; the fields of targets.yaml's backend that an artifact can contradict.

    Attributes:
        name: as in targets.yaml.
        arch: `arm64`, `x86_64`, `aarch64` or `wasm32`; `same_architecture` knows which of them are one.
        platform: `ios`, `ios-simulator`, `maccatalyst`, `macos`, `linux`, `android` or `wasm`.
        deployment_target: the oldest system, e.g. `14.0`; None where the platform has no such thing.
        format: of its objects.
    """

    name: str
    arch: str
    platform: str
    deployment_target: str | None
    format: Format

    @classmethod
    def from_params(cls, params: Mapping[str, Json]) -> Backend:
        """Take what is needed from a BACKEND of an action's parameters."""
        return cls(**{name: params[name] for name in ("name", "arch", "platform", "deployment_target", "format")})


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the library must hold. `subject` is `model-variant`."""

    subject: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Library:
    """An archive for one backend, the models it must hold, and its members as they are."""

    path: Path
    backend: Backend
    models: tuple[Model, ...]
    members: tuple[ObjectInfo, ...]

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Symbol prefixes of the expected models."""
        return tuple(model.prefix for model in self.models)

    def model_of(self, symbol: str) -> Model | None:
        """The model that a C symbol or a member name belongs to, by its prefix; the longest prefix wins."""
        bare = symbol.removeprefix("__tvm_ffi_")
        owners = [model for model in self.models if bare.startswith(model.prefix)]
        return max(owners, key=lambda model: len(model.prefix), default=None)


def read_library(path: Path, backend: Backend, models: Sequence[Model]) -> Library:
    """Read an archive and every object in it.

    Raises:
        FormatError: the archive or a member is malformed, or is no object file.
    """
    members = tuple(
        read_object(member.data, f"{path.name}({member.name})") for member in read_archive(path.read_bytes(), path.name)
    )
    return Library(path, backend, tuple(models), members)


def models_from(params: Sequence[Mapping[str, Json]]) -> tuple[Model, ...]:
    """Take what is needed from the MODELs of an action's parameters or of `archive.json`."""
    return tuple(Model(model["subject"], model["prefix"]) for model in params)


def same_architecture(one: str, other: str) -> bool:
    """Whether two spellings name one architecture: Apple says arm64 where the others say aarch64."""
    return architecture(one) == architecture(other)


def architecture(name: str) -> str:
    """One spelling for each architecture."""
    return _ARCHITECTURES.get(name.lower(), name.lower())
