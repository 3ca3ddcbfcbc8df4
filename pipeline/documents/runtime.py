"""`runtime.json` and `wasm.json`: a runtime's libraries or objects, and the modules linked with it, for one backend."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.matrix.cells import Backend

from .codec import Document

HEADERS = "include"
"""The folder with the headers of a packaged runtime, beside its libraries, and in kits."""


@dataclass(frozen=True)
class LibraryFile:
    """A library of a runtime.

    Attributes:
        name: `tvm_runtime`.
        whole: whether a link must take every member: it registers things that nothing refers to.
        registrations: names of TVM's registration functions that it defines.
        shared: whether it is loaded with the program, and no archive.
    """

    name: str
    file: str
    sha256: str
    size: int
    whole: bool
    registrations: tuple[str, ...]
    shared: bool = False


@dataclass(frozen=True)
class RuntimeManifest(Document):
    """The libraries of a runtime, in link order.

    Attributes:
        project: CMake's name; None for what was not built here.
        tvm: version of a packaged runtime, whose headers are in the folder `include` beside it.
    """

    NAME = "runtime.json"

    backend: Backend
    project: str | None = None
    libraries: tuple[LibraryFile, ...] = ()
    tvm: str | None = None


@dataclass(frozen=True)
class ObjectFile:
    """An object of a web runtime."""

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class WebRuntimeManifest(Document):
    """The objects of a web runtime; none where it would come from a package and `lacks` says what is missing here."""

    NAME = "runtime.json"

    objects: tuple[ObjectFile, ...]
    lacks: str | None = None


@dataclass(frozen=True)
class ModuleFile:
    """A model linked into a module for pages; `subject` is the model's."""

    subject: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Modules(Document):
    """The modules of a wasm backend; none where `lacks` says what is missing here to link them."""

    NAME = "wasm.json"

    backend: Backend
    modules: tuple[ModuleFile, ...]
    lacks: str | None = None
