"""`link.json`: everything a kit's other files say, for programs. `linkkit` writes it, the proofs of a product read it.

A superset of the `system_lib_metadata.json` that projects around TVM and Rust pass about by hand: `archive`,
`prefix_base`, `prefixes` and `target` mean the same here. Paths are relative to the kit; symbols are spelt as in C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .codec import Document
from .functions import Function
from .run import RunSummary

SCHEMA = 2


@dataclass(frozen=True)
class Abi:
    """Of TVM's C interface: its generation, the function that constructors call, and the versions that it came from."""

    generation: str
    registration: str | None
    tvm: str | None = None
    tvm_ffi: str | None = None


@dataclass(frozen=True)
class LinkedModel:
    """A model of a kit.

    Attributes:
        prefix: what the runtime finds it by.
        library_bin: the symbol of its blob.
        keep_symbols: to name with `-u`, so that both of its objects are linked.
    """

    model: str
    variant: str
    options: Mapping[str, object]
    prefix: str
    library_bin: str
    keep_symbols: tuple[str, ...]
    abi: Abi
    functions: tuple[Function, ...]


@dataclass(frozen=True)
class LinkedBackend:
    """A backend in an archive; the fields are those of `matrix.cells.Backend`."""

    name: str
    triple: str
    arch: str
    platform: str
    deployment_target: str | None
    device: Mapping[str, object]
    kernels: Literal["source", "metallib"] | None = None


@dataclass(frozen=True)
class LinkedLibrary:
    """A library of the runtime, with the flags for the linker that take it; `shared` ones are no archives."""

    name: str
    archive: str
    size: int
    sha256: str
    linker_flags: tuple[str, ...]
    shared: bool = False


@dataclass(frozen=True)
class LinkedArchive:
    """One archive of a kit, and what it is for.

    Attributes:
        name: of its directory: a backend, an ABI or the identifier of a slice.
        architectures: in it; more than one in a fat file.
        models: subjects.
        functions: of models whose functions differ from those under `models`.
        linker_flags: that keep its models alive.
        runtime: libraries that the kit brings along.
    """

    name: str
    archive: str
    size: int
    sha256: str
    format: str
    platform: str
    architectures: tuple[str, ...]
    backends: tuple[LinkedBackend, ...]
    models: tuple[str, ...]
    functions: Mapping[str, tuple[Function, ...]]
    system_libraries: tuple[str, ...]
    frameworks: tuple[str, ...]
    linker_flags: tuple[str, ...]
    runtime: tuple[LinkedLibrary, ...]


@dataclass(frozen=True)
class LinkedModule:
    """A model as a module for pages."""

    model: str
    backend: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class LaidOutLibrary:
    """A library in a layout.

    Attributes:
        model: subject.
        prefix: what the runtime finds the model by.
        form: `tar` (objects), `archive`, `shared` or `module`.
        needed: of a shared one: the libraries that are loaded with it.
        bundle: directory of the model's bundle, if that is in the layout.
    """

    model: str
    backend: str
    prefix: str
    file: str
    form: Literal["tar", "archive", "shared", "module"]
    size: int
    sha256: str
    needed: tuple[str, ...] = ()
    bundle: str | None = None


@dataclass(frozen=True)
class LaidOutFile:
    """A file in a layout that a task has put out; `runtime` is what loads a model that is not compiled."""

    task: str
    file: str
    size: int
    sha256: str
    runtime: str | None = None


@dataclass(frozen=True)
class LinkJson(Document):
    """The whole document. `target` is the kind of device, and null when the archives differ in it.

    `runs` are in what is shipped alone: every run of a model in it, by each runner. `libraries` and `files` are those
    of a layout, which has no `archives` and no `modules`.
    """

    NAME = "link.json"

    schema: int
    product: str
    kind: str
    archive: str
    prefix_base: str
    prefixes: Mapping[str, str]
    models: Mapping[str, LinkedModel]
    system_libraries: tuple[str, ...]
    frameworks: tuple[str, ...]
    archives: tuple[LinkedArchive, ...]
    modules: tuple[LinkedModule, ...]
    target: str | None
    runs: tuple[RunSummary, ...] = ()
    libraries: tuple[LaidOutLibrary, ...] = ()
    files: tuple[LaidOutFile, ...] | None = None
