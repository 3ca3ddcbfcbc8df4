"""`archive.json`, beside each static archive: which models are in it. `archive` writes it, kits and proofs read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.binary import symbols
from pipeline.matrix.cells import Backend

from .codec import Document
from .functions import Function, Value


@dataclass(frozen=True)
class ArchivedModel:
    """A model in an archive. Symbols are spelt as in C, without the underscore of Mach-O.

    Attributes:
        prefix: what the runtime finds it by.
        library_bin: the symbol of its blob.
        generation: of TVM's C interface that it was compiled for.
        registration: the function that its constructors call; None where no symbol tells.
        tvm: version of what compiled it; None if unknown.
        tvm_ffi: likewise, of apache-tvm-ffi.
        parameters: see `functions.Functions`.
    """

    model: str
    variant: str
    subject: str
    prefix: str
    options: Mapping[str, object]
    members: tuple[str, ...]
    library_bin: str
    generation: str
    registration: str | None
    functions: tuple[Function, ...]
    tvm: str | None = None
    tvm_ffi: str | None = None
    parameters: tuple[Value, ...] | None = None

    @property
    def required_symbols(self) -> tuple[str, ...]:
        """The C symbols to name so that both of its objects are linked."""
        return symbols.required_symbols(self.prefix)

    @property
    def exported(self) -> tuple[str, ...]:
        """The C symbols to leave visible in what is linked."""
        return symbols.exported(self.prefix)


@dataclass(frozen=True)
class Archive(Document):
    """A static archive.

    Attributes:
        models: what is in it, sorted by subject.
        undefined: C names that it needs from the runtime and the system, sorted.
    """

    NAME = "archive.json"

    library: str
    backend: Backend
    sha256: str
    size: int
    models: tuple[ArchivedModel, ...]
    undefined: tuple[str, ...]

    def model(self, subject: str) -> ArchivedModel:
        """The model of that subject, which must be in it."""
        return next(one for one in self.models if one.subject == subject)
