"""What a link kit is about, as plain values: models, and the archives that hold them.

`linkkit` reads a product's archives into a `Kit`; the templates and `link.json` are filled from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import roles
from pipeline.binary.object_info import Format
from pipeline.documents.archive import Archive, ArchivedModel
from pipeline.documents.link_json import LinkedModule
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend
from pipeline.platforms import (
    ANDROID_ABIS,
    CMAKE_PROCESSORS,
    CMAKE_SYSTEMS,
    RUST_ARCHITECTURES,
)

from . import link_flags
from . import runtime as kit_runtime
from .runtime import RuntimeLibrary, read_modules, read_runtime
from .slices import Slice, library_name, library_path, slices


@dataclass(frozen=True, slots=True)
class KitArchive:
    """One archive of a kit, and what it is for.

    Attributes:
        name: of its directory: a backend, an ABI or the identifier of a slice.
        path: the archive, relative to the kit.
        backends: those in it; more than one in a fat archive.
        architectures: theirs, arm64 being always called arm64.
        models: what it holds, sorted by subject.
        runtime: what the kit brings along to link beside it, in link order.
    """

    name: str
    path: str
    backends: tuple[Backend, ...]
    architectures: tuple[str, ...]
    platform: str
    format: Format
    models: tuple[ArchivedModel, ...]
    data: bytes
    runtime: tuple[RuntimeLibrary, ...] = ()

    @property
    def backend(self) -> str:
        """Name of the (first) backend."""
        return self.backends[0].name

    @property
    def directory(self) -> str:
        """Where the archive is, relative to the kit."""
        return self.path.rpartition("/")[0]

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return sha256_bytes(self.data)

    @property
    def adler32(self) -> int:
        """The same in what a build script without libraries can compute."""
        return zlib.adler32(self.data)

    @property
    def system_libraries(self) -> tuple[str, ...]:
        """Libraries of the system to link beside it, sorted."""
        of_runtime = kit_runtime.system_libraries(self.runtime, self.format, self.platform)
        return tuple(sorted({*(name for one in self.backends for name in one.system_libraries), *of_runtime}))

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Apple frameworks to link beside it, sorted."""
        return tuple(
            sorted(
                {
                    *(name for one in self.backends for name in one.frameworks),
                    *kit_runtime.frameworks(self.runtime, self.format),
                }
            )
        )

    @property
    def keep(self) -> tuple[str, ...]:
        """Linker flags that fail the link when half a model is missing."""
        return link_flags.keep((model.prefix for model in self.models), self.format)

    @property
    def page_size(self) -> tuple[str, ...]:
        """Linker flags for the pages of the platform."""
        return link_flags.page_size(self.platform)

    @property
    def cmake_system(self) -> str:
        """`CMAKE_SYSTEM_NAME` where this archive fits."""
        return CMAKE_SYSTEMS[self.platform]

    @property
    def cmake_processors(self) -> tuple[str, ...]:
        """What `CMAKE_SYSTEM_PROCESSOR` may be where this archive fits."""
        return CMAKE_PROCESSORS.get(self.architectures[0], self.architectures)

    @property
    def rust_arch(self) -> str:
        """The first word of the Rust target triple."""
        return RUST_ARCHITECTURES.get(self.architectures[0], self.architectures[0])


@dataclass(frozen=True, slots=True)
class Kit:
    """A product's archives and models.

    Attributes:
        kind: `xcframework`, `android`, `native`, `web` or `layout`.
        library: the name of the library without `lib` and `.a`.
        archives: the archives, in the order of their names.
        slices: of an xcframework: the same, with Apple's names.
        modules: of a `web` product: each model linked with the runtime.
    """

    product: str
    kind: str
    library: str
    archives: tuple[KitArchive, ...]
    slices: tuple[Slice, ...] = ()
    modules: tuple[LinkedModule, ...] = ()

    @property
    def archive(self) -> str:
        """Basename of every archive."""
        return library_name(self.product) if self.kind == "xcframework" else f"lib{self.library}.a"

    @property
    def models(self) -> tuple[ArchivedModel, ...]:
        """Every model that some archive holds, once, sorted by subject."""
        every = {model.subject: model for archive in reversed(self.archives) for model in archive.models}
        return tuple(every[subject] for subject in sorted(every))

    @property
    def system_libraries(self) -> tuple[str, ...]:
        """Those of all archives, sorted."""
        return tuple(sorted({name for archive in self.archives for name in archive.system_libraries}))

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Those of all archives, sorted."""
        return tuple(sorted({name for archive in self.archives for name in archive.frameworks}))

    @property
    def common_models(self) -> frozenset[str]:
        """Subjects of the models that every archive holds."""
        return frozenset[str].intersection(
            *(frozenset(model.subject for model in archive.models) for archive in self.archives)
        )

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All backends."""
        return tuple(backend for archive in self.archives for backend in archive.backends)


def read_kit(product: str, library: str, kind: str, backends: Sequence[Backend], inputs: Mapping[str, Path]) -> Kit:
    """Read the archives of a product and decide which goes where.

    `library` is without `lib` and `.a`. The inputs have a directory with an archive and its `archive.json` for each
    backend, of an xcframework also that; and see `kits.runtime`.

    Raises:
        StepError: a runtime is not that of the models, or slices have different ones.
    """
    described = {backend.name: Archive.read(inputs[roles.archive(backend.name)]) for backend in backends}
    kit_runtime.check_versions(inputs, {name: one.models for name, one in described.items()})
    if kind == "xcframework":
        return _of_xcframework(product, library, backends, inputs, described)
    archives = []
    for backend in backends:
        folder = f"lib/{ANDROID_ABIS[backend.arch]}" if kind == "android" else backend.name
        data = (inputs[roles.archive(backend.name)] / f"lib{library}.a").read_bytes()
        archive = _archive(backend.name, f"{folder}/lib{library}.a", [backend], described, data)
        beside = read_runtime(inputs, backend.name).values()
        archives.append(replace(archive, runtime=tuple(replace(one, path=f"{folder}/{one.file}") for one in beside)))
    placed = tuple(sorted(archives, key=lambda archive: archive.name))
    return Kit(product, kind, library, placed, modules=read_modules(inputs))


def _of_xcframework(
    product: str,
    library: str,
    backends: Sequence[Backend],
    inputs: Mapping[str, Path],
    described: Mapping[str, Archive],
) -> Kit:
    """The kit around the frameworks that the step `xcframework` wrote."""
    frameworks = inputs[roles.XCFRAMEWORK]
    found = slices(backends)
    archives = []
    for piece in found:
        path = library_path(product, piece)
        archive = _archive(piece.identifier, path, piece.backends, described, (frameworks / path).read_bytes())
        first = read_runtime(inputs, piece.backends[0].name)
        beside = [replace(one, path=library_path(name, piece)) for name, one in first.items()]
        placed = tuple(replace(one, data=(frameworks / one.path).read_bytes()) for one in beside)
        archives.append(replace(archive, runtime=placed))
    kit_runtime.check_alike(
        f"product {product}: its slices do not have the same libraries of the runtime",
        {archive.name: [one.name for one in archive.runtime] for archive in archives},
    )
    return Kit(product, "xcframework", library, tuple(archives), found)


def _archive(
    name: str, path: str, backends: Sequence[Backend], described: Mapping[str, Archive], data: bytes
) -> KitArchive:
    first = backends[0]
    return KitArchive(
        name=name,
        path=path,
        backends=tuple(backends),
        architectures=tuple(backend.arch for backend in backends),
        platform=first.platform,
        format=first.format,
        models=described[first.name].models,
        data=data,
    )
