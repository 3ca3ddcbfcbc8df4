"""What a link kit is about, as plain values: models, and the archives that hold them.

`linkkit` reads a product's archives into a `Kit`; the templates and `link.json` are filled from it. Must not know
templates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.action import Json
from pipeline.binary.object_info import Format
from pipeline.errors import StepError
from pipeline.steps import xcframework

from . import link_flags
from . import runtime as kit_runtime
from .runtime import Module, RuntimeLibrary, read_modules, read_runtime
from .slices import Slice, slices

ROLE = "archive:"
"""Roles of the inputs are `archive:<backend>`."""

PLATFORMS = {
    "xcframework": frozenset({"ios", "ios-simulator", "maccatalyst", "macos"}),
    "android": frozenset({"android"}),
    "native": frozenset({"linux", "macos", "android", "ios", "ios-simulator", "maccatalyst"}),
    "web": frozenset({"wasm"}),
}
"""What each kind of product can hold."""

_ANDROID_ABIS = {"arm64": "arm64-v8a", "x86_64": "x86_64", "armv7": "armeabi-v7a", "i686": "x86"}
_CMAKE_PROCESSORS = {"arm64": ("aarch64", "arm64", "arm64-v8a"), "x86_64": ("x86_64", "amd64", "AMD64")}
_CMAKE_SYSTEMS = {
    "linux": "Linux", "android": "Android", "macos": "Darwin", "ios": "iOS", "ios-simulator": "iOS-simulator",
    "maccatalyst": "Catalyst",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KitModel:
    """A model of a kit.

    Attributes:
        subject: `model-variant`.
        prefix: what the runtime finds it by.
        kept: the C symbols to name so that both of its objects are linked.
        exported: the C symbols to leave visible in what is linked.
        functions: name, arguments and results of each, as in `archive.json`.
        document: its whole entry in `archive.json`.
    """

    subject: str
    prefix: str
    kept: tuple[str, ...]
    exported: tuple[str, ...]
    functions: tuple[Json, ...]
    document: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Part:
    """One archive of a kit, and whom it is for.

    Attributes:
        name: of its directory: a backend, an ABI or the identifier of a slice.
        path: the archive, relative to the kit.
        backends: the BACKENDs in it; more than one in a fat archive.
        architectures: theirs, arm64 being always called arm64.
        platform: theirs.
        format: of the objects.
        models: what it holds, sorted by subject.
        data: its bytes.
        runtime: what the kit brings along to link beside it, in link order.
    """

    name: str
    path: str
    backends: tuple[Mapping[str, Json], ...]
    architectures: tuple[str, ...]
    platform: str
    format: Format
    models: tuple[KitModel, ...]
    data: bytes
    runtime: tuple[RuntimeLibrary, ...] = ()

    @property
    def backend(self) -> str:
        """Name of the (first) backend."""
        return str(self.backends[0]["name"])

    @property
    def directory(self) -> str:
        """Where the archive is, relative to the kit."""
        return self.path.rpartition("/")[0]

    @property
    def system_libraries(self) -> tuple[str, ...]:
        """Libraries of the system to link beside it, sorted."""
        of_runtime = kit_runtime.system_libraries(self.runtime, self.format, self.platform)
        return tuple(sorted({*union(self.backends, "system_libraries"), *of_runtime}))

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Apple frameworks to link beside it, sorted."""
        return tuple(sorted({*union(self.backends, "frameworks"), *kit_runtime.frameworks(self.runtime, self.format)}))

    @property
    def keep(self) -> tuple[str, ...]:
        """Linker words that fail the link when half a model is missing."""
        return link_flags.keep((model.prefix for model in self.models), self.format)

    @property
    def page_size(self) -> tuple[str, ...]:
        """Linker words for the pages of the platform."""
        return link_flags.page_size(self.platform)

    @property
    def cmake_system(self) -> str:
        """`CMAKE_SYSTEM_NAME` where this archive fits."""
        return _CMAKE_SYSTEMS[self.platform]

    @property
    def cmake_processors(self) -> tuple[str, ...]:
        """What `CMAKE_SYSTEM_PROCESSOR` may be where this archive fits."""
        return _CMAKE_PROCESSORS.get(self.architectures[0], self.architectures)

    @property
    def rust_arch(self) -> str:
        """The first word of the Rust target triple."""
        return {"arm64": "aarch64"}.get(self.architectures[0], self.architectures[0])


@dataclass(frozen=True, slots=True)
class Kit:
    """A product's archives and models.

    Attributes:
        product: its name.
        kind: `xcframework`, `android`, `native` or `web`.
        library: the name of the library without `lib` and `.a`.
        parts: the archives, in the order of their names.
        slices: of an xcframework: the same, with Apple's names.
        modules: of a `web` product: each model linked with the runtime.
    """

    product: str
    kind: str
    library: str
    parts: tuple[Part, ...]
    slices: tuple[Slice, ...] = ()
    modules: tuple[Module, ...] = ()

    @property
    def archive(self) -> str:
        """Basename of every archive."""
        return xcframework.library_name(self.product) if self.kind == "xcframework" else f"lib{self.library}.a"

    @property
    def models(self) -> tuple[KitModel, ...]:
        """Every model that some part holds, once, sorted by subject."""
        every = {model.subject: model for part in reversed(self.parts) for model in part.models}
        return tuple(every[subject] for subject in sorted(every))

    @property
    def system_libraries(self) -> tuple[str, ...]:
        """Those of all parts, sorted."""
        return tuple(sorted({name for part in self.parts for name in part.system_libraries}))

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Those of all parts, sorted."""
        return tuple(sorted({name for part in self.parts for name in part.frameworks}))

    @property
    def everywhere(self) -> frozenset[str]:
        """Subjects of the models that every part holds."""
        return frozenset[str].intersection(*(frozenset(model.subject for model in part.models) for part in self.parts))

    @property
    def backends(self) -> tuple[Mapping[str, Json], ...]:
        """All BACKENDs."""
        return tuple(backend for part in self.parts for backend in part.backends)


def read_kit(params: Mapping[str, Json], inputs: Mapping[str, Path]) -> Kit:
    """Read the archives of a product and decide which goes where.

    Args:
        params: of the step, see docs/design.md.
        inputs: role -> directory with an archive and its `archive.json`; and see `kit_runtime`.

    Raises:
        StepError: a backend that this kind of product can not hold, or two that would be the same place.
    """
    kind, backends = params["kind"], params["backends"]
    for backend in backends:
        if backend["platform"] not in PLATFORMS[kind]:
            raise StepError(
                f"product {params['product']} is of kind {kind} and can not hold backend {backend['name']} "
                f"({backend['platform']})",
                hint=f"leave {backend['name']} out, or choose a kind that holds it: "
                + ", ".join(other for other, platforms in PLATFORMS.items() if backend["platform"] in platforms),
            )
    library = f"lib{params['library']}.a"
    documents = {
        b["name"]: json.loads((inputs[ROLE + b["name"]] / "archive.json").read_text("utf-8")) for b in backends
    }
    data = {b["name"]: (inputs[ROLE + b["name"]] / library).read_bytes() for b in backends}
    if kind == "xcframework":
        found = slices(xcframework.observe(backend, data[backend["name"]]) for backend in backends)
        by_name = {backend["name"]: backend for backend in backends}
        parts = []
        for piece in found:
            of_slice = [by_name[thin.backend] for thin in piece.thins]
            path = xcframework.library_path(params["product"], piece)
            part = _part(piece.identifier, path, of_slice, documents, xcframework.join(piece, data))
            parts.append(replace(part, runtime=xcframework.runtime_of(params["product"], piece, inputs)))
        _refuse_different_models(params["product"], parts)
        kit_runtime.check_alike(params["product"], {part.name: part.runtime for part in parts})
        return Kit(params["product"], kind, params["library"], tuple(parts), found)
    parts = []
    for backend in backends:
        folder = f"lib/{_android_abi(backend)}" if kind == "android" else backend["name"]
        part = _part(backend["name"], f"{folder}/{library}", [backend], documents, data[backend["name"]])
        beside = read_runtime(inputs, backend["name"]).values()
        parts.append(replace(part, runtime=tuple(replace(one, path=f"{folder}/{one.file}") for one in beside)))
    _refuse_twins(params["product"], kind, parts)
    placed = tuple(sorted(parts, key=lambda part: part.name))
    return Kit(params["product"], kind, params["library"], placed, modules=read_modules(inputs))


def union(backends: Iterable[Mapping[str, Json]], key: str) -> tuple[str, ...]:
    """The values of a list-valued field of several backends, each once, sorted."""
    return tuple(sorted({value for backend in backends for value in backend[key]}))


def _part(
    name: str, path: str, backends: list[Mapping[str, Json]], documents: Mapping[str, Json], data: bytes
) -> Part:  # fmt: skip
    models = {tuple(sorted(m["subject"] for m in documents[b["name"]]["models"])) for b in backends}
    if len(models) != 1:
        raise StepError(
            f"{' and '.join(b['name'] for b in backends)} share the slice {name}, and do not hold the same models: "
            + " against ".join(", ".join(names) for names in sorted(models)),
            hint="exclude a model for both of them or for neither, or put them into two products",
        )
    first = backends[0]
    return Part(
        name=name,
        path=path,
        backends=tuple(backends),
        architectures=tuple(_arch(backend) for backend in backends),
        platform=first["platform"],
        format=first["format"],
        models=tuple(_model(document) for document in documents[first["name"]]["models"]),
        data=data,
    )


def _model(document: Mapping[str, Json]) -> KitModel:
    prefix = document["prefix"]
    return KitModel(
        subject=document["subject"],
        prefix=prefix,
        kept=link_flags.kept(prefix),
        exported=link_flags.exported(prefix),
        functions=tuple(document["functions"]),
        document=document,
    )


def _arch(backend: Mapping[str, Json]) -> str:
    return {"aarch64": "arm64", "amd64": "x86_64"}.get(backend["arch"], str(backend["arch"]))


def _android_abi(backend: Mapping[str, Json]) -> str:
    abi = _ANDROID_ABIS.get(_arch(backend))
    if abi is None:
        raise StepError(
            f"backend {backend['name']} is for {backend['arch']}, which is no Android ABI",
            hint=f"use one of {', '.join(_ANDROID_ABIS)}",
        )
    return abi


def _refuse_twins(product: str, kind: str, parts: Iterable[Part]) -> None:
    """Two archives for one system and processor: a build of an app could not know which to take."""
    seen: dict[tuple[str, ...], Part] = {}
    for part in parts:
        # In the browser nothing chooses by itself: a page asks for the module it wants.
        place = (part.name,) if kind == "web" else (part.platform, *part.architectures)
        twin = seen.setdefault(place, part)
        if twin is not part:
            raise StepError(
                f"product {product}: backends {twin.name} and {part.name} are both for {part.platform} "
                f"{part.architectures[0]}, and an app's build could not know which to take",
                hint=f"put {twin.name} and {part.name} into two products",
            )


def _refuse_different_models(product: str, parts: Iterable[Part]) -> None:
    """An app is one source for device, simulator and Mac: what it refers to must be in every slice."""
    parts = tuple(parts)
    subjects = [{model.subject for model in part.models} for part in parts]
    for part, held in zip(parts, subjects, strict=True):
        lacking = sorted(set().union(*subjects) - held)
        if lacking:
            raise StepError(
                f"product {product}: slice {part.name} lacks {', '.join(lacking)}, which other slices have; the app's "
                "flags and its keep file name every model",
                hint=f"build {lacking[0]} for {part.backend} too, exclude it everywhere, or make two products",
            )
