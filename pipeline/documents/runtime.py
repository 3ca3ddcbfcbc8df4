"""`runtime.json` and `wasm.json`: a runtime's libraries or objects, and the modules linked with it, for one backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.matrix.cells import Backend

from .codec import load

RUNTIME_NAME = "runtime.json"
MODULES_NAME = "wasm.json"
HEADERS = "include"
"""The folder with the headers of a packaged runtime, beside its libraries, and in kits."""


@dataclass(frozen=True)
class LibraryFile:
    """A library of a runtime.

    Attributes:
        name: `tvm_runtime`.
        file: its name.
        sha256: of the file.
        size: of the file, in bytes.
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
class RuntimeManifest:
    """The libraries of a runtime, in link order.

    Attributes:
        backend: they are for.
        project: CMake's name; None for what was not built here.
        libraries: each.
        tvm: version of a packaged runtime, whose headers are in the folder `include` beside it.
    """

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
class WebRuntimeManifest:
    """The objects of a web runtime; none where it would come from a package and `lacks` says what is missing here."""

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
class Modules:
    """The modules of a wasm backend; none where `lacks` says what is missing here to link them."""

    backend: Backend
    modules: tuple[ModuleFile, ...]
    lacks: str | None = None


def read_runtime_json(folder: Path) -> RuntimeManifest:
    """The description in the output directory of a `runtime` action."""
    return load(RuntimeManifest, folder / RUNTIME_NAME)


def read_web_runtime(folder: Path) -> WebRuntimeManifest:
    """The description in the output directory of a `wasm_runtime` action."""
    return load(WebRuntimeManifest, folder / RUNTIME_NAME)


def read_modules_json(folder: Path) -> Modules:
    """The description in the output directory of a `wasm` action."""
    return load(Modules, folder / MODULES_NAME)
