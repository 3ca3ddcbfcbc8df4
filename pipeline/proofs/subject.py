"""What is being proven: a static archive, read once, beside what targets.yaml promised about it.

`pipeline.steps.verify` makes one `Library` and every check reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.action import Tool
from pipeline.binary import fat
from pipeline.binary.ar import read_members
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import FUNCTION_PREFIX
from pipeline.documents.archive import ArchivedModel
from pipeline.files import digest_path
from pipeline.matrix.cells import Backend, ModelRef

Model = ModelRef | ArchivedModel
"""A model that the library must hold: its `subject` and its `prefix` are what proofs need to know."""


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


@dataclass(frozen=True, slots=True)
class Kit:
    """A product's folder as a user gets it, and the archives that went into it."""

    product: str
    folder: Path
    libraries: tuple[Library, ...]
    tools: Mapping[str, Tool | None]
    scratch: Path
    log: Path

    @property
    def rebuild(self) -> str:
        """The hint where its files are wrong."""
        return f"doit forget linkkit:{self.product} && doit linkkit:{self.product}"

    @property
    def again(self) -> str:
        """The same of files that are made from templates."""
        return f"{self.rebuild}; a template of your own must keep the flags of ours"


def unlike(path: Path, size: int, sha256: str) -> str | None:
    """How a file differs from what `link.json` says of it, as the end of a sentence."""
    if not path.is_file():
        return "is not there"
    if (found := digest_path(path)).size != size:
        return f"has {found.size} bytes, and {size} in link.json"
    return None if found.sha256 == sha256 else "is not what link.json says of it (sha256)"


def read_library(path: Path, backend: Backend, models: Sequence[Model]) -> Library:
    """Read an archive and every object in it.

    Raises:
        FormatError: the archive or a member is malformed, or is no object file.
    """
    return Library(path, backend, tuple(models), read_members(path.read_bytes(), path.name))


def runtime_members(path: Path, arch: str, *, shared: bool) -> tuple[ObjectInfo, ...]:
    """A shared library of a runtime, or the objects of a static one; of a fat file those for an architecture.

    Raises:
        FormatError: it is malformed.
    """
    data = path.read_bytes()
    if shared:
        return (read_object(data, path.name),)
    if fat.is_fat(data):
        thins = fat.read_fat(data, path.name)
        data = next(thin.data for thin in thins if thin.arch == arch)
    return read_members(data, path.name, skip_others=True)
