"""What is being proven: a static archive, read once, beside what targets.yaml promised about it.

`pipeline.steps.verify` makes one `Library` and every check reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.binary.ar import read_archive
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import FUNCTION_PREFIX
from pipeline.documents.archive import ArchivedModel
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.platforms import architecture


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
        bare = symbol.removeprefix(FUNCTION_PREFIX)
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


def models_of(found: Iterable[ModelRef | ArchivedModel]) -> tuple[Model, ...]:
    """What proofs need to know of models."""
    return tuple(Model(model.subject, model.prefix) for model in found)


def same_architecture(one: str, other: str) -> bool:
    """Whether two spellings name one architecture."""
    return architecture(one) == architecture(other)
