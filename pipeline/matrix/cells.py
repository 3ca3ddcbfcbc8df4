"""What a matrix means, as plain values: the contract between `expand`, which makes them, and `plan`, which reads them.

Everything is frozen; mappings inside are never changed. `Backend` and `ModelRef` travel on to the steps,
and so into keys: what depends on the machine (a position, an absolute path) is in none, or has `compare=False`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import Position
from pipeline.platforms import FORMATS, ObjectFormat, Platform

from .source import Function, Source, WeightsSource


@dataclass(frozen=True)
class Backend:
    """Where a model runs.

    Attributes:
        preset: the preset it started from, None where targets.yaml says everything itself. `host` is the one that runs
            on this machine.
        device: TVM's target JSON without its host: `{"kind": "metal", ...}`.
        triple: LLVM triple of the host code, for Apple with the deployment target in it.
        arch: `arm64`, `x86_64`, `armv7` or `wasm32`.
        deployment_target: lowest OS version, for Apple platforms only.
        system_libraries: libraries of the system that an app must link (`-l`), without prefix and suffix.
        kernels: of a Metal device: `source` (compiled on the device at load) or `metallib` (compiled here, by Xcode);
            None for any other device.
        runners: what runs its models, of what can; see `backends`.
    """

    name: str
    device: Mapping[str, object] = field(hash=False)
    triple: str
    arch: str
    platform: Platform
    deployment_target: str | None
    format: ObjectFormat
    system_libraries: tuple[str, ...]
    frameworks: tuple[str, ...]
    kernels: Literal["source", "metallib"] | None = None
    preset: str | None = field(default=None, compare=False)
    runners: tuple[str, ...] = field(default=(), compare=False)
    where: Position | None = field(default=None, compare=False)

    @property
    def device_kind(self) -> str:
        """TVM's name for what its kernels run on: `metal`, or `llvm` where that is the CPU."""
        return str(self.device["kind"])

    @property
    def is_host(self) -> bool:
        """Whether it is the one that runs on this machine."""
        return self.preset == "host"


@dataclass(frozen=True)
class ModelRef:
    """What of a model variant its compile, archive and proof depend on.

    Attributes:
        prefix: `system_lib_prefix`, by which an app finds the model; at least 8 bytes, a C identifier.
        options: JSON that the recipe gets: the model's options with the variant's laid over them.
    """

    model: str
    variant: str
    prefix: str
    options: Mapping[str, object] = field(hash=False)

    @property
    def subject(self) -> str:
        """`minilm-f32`: the name in tasks, file names and `matrix.model`."""
        return f"{self.model}-{self.variant}"

    @property
    def names(self) -> dict[str, str]:
        """What placeholders in targets.yaml stand for."""
        return {"subject": self.subject, "model": self.model, "variant": self.variant}


@dataclass(frozen=True)
class ForApps:
    """What apps want to know of a model and no compiler does; None where targets.yaml does not say."""

    model_id: str | None = None
    model_url: str | None = None
    estimated_vram_bytes: int | None = None
    bundle_weight: bool | None = None
    low_resource_required: bool | None = None


@dataclass(frozen=True)
class ModelVariant(ModelRef):
    """One variant of a model: what a cell compiles. It is the same for every backend and toolchain.

    Attributes:
        config: patterns of the weights' files that a recipe may read while compiling.
        bundle: patterns of the weights' files that go beside the library.
        check: the function that compares numbers on the host, or None.
        toolchain: what compiles it where the matrix does not say.
        unnamed: whether the prefix is only a stand-in for the one that follows from the weights' config; see
            `pipeline.plan.library_names`.
        named_for: the device by whose name in mlc_llm the library is called, where it is named like that.
        weights_where: the place of its `weights` in targets.yaml.
        fetched: backend -> where its prebuilt file comes from, for those that are not on the disk.
    """

    compiler: Literal["relax", "mlc", "prebuilt"]
    source: Source
    weights: WeightsSource | None
    config: tuple[str, ...]
    bundle: tuple[str, ...]
    check: Function | None
    where: Position = field(compare=False)
    toolchain: str = "current"
    unnamed: bool = False
    named_for: str | None = None
    app: ForApps = ForApps()
    weights_where: Position | None = field(default=None, compare=False)
    fetched: Mapping[str, WeightsSource] = field(default_factory=dict, hash=False)

    @property
    def is_raw(self) -> bool:
        """Whether its weights are a checkpoint that mlc_llm must convert first."""
        return self.compiler == "mlc" and "conv_template" in self.options

    @property
    def has_bundle(self) -> bool:
        """Whether there is something to ship beside its library: not for objects of others without weights."""
        return self.compiler == "relax" or self.weights is not None

    def ref(self) -> ModelRef:
        """What travels to the steps."""
        return ModelRef(self.model, self.variant, self.prefix, self.options)


@dataclass(frozen=True)
class Toolchain:
    """A Python environment with a compiler in it. `current` is the Python that runs doit and has no fields set."""

    name: str
    requirements: tuple[str, ...]
    find_links: tuple[str, ...]
    pre: bool
    python: str | None
    path: str | None
    source: str | None
    where: Position = field(compare=False)


@dataclass(frozen=True)
class Cell:
    """One compile: model variant x backend x toolchain."""

    model: ModelVariant
    backend: Backend
    toolchain: str

    @property
    def subject(self) -> str:
        """`minilm-f32@ios-arm64`, with `+toolchain` at the end where it is not `current`."""
        return cell_subject(self.model.subject, self.backend.name, self.toolchain)

    @property
    def names(self) -> dict[str, str]:
        """What placeholders in targets.yaml stand for."""
        return {**self.model.names, "subject": self.subject, "backend": self.backend.name}

    @property
    def library(self) -> tuple[str, str]:
        """Backend and prefix, by which a library is found: of one pair there is one."""
        return self.backend.name, self.model.prefix


def cell_subject(model: str, backend: str, toolchain: str) -> str:
    """The subject of a cell, from the names of its parts."""
    return f"{model}@{backend}" if toolchain == "current" else f"{model}@{backend}+{toolchain}"


@dataclass(frozen=True)
class LayoutRule:
    """Where a layout puts the models of one backend: patterns of paths, which `layouts` fills in."""

    backend: str
    library: str
    bundle: str | None


LibraryForm = Literal["tar", "archive", "shared", "module"]
LIBRARY_FORMS: Mapping[str, tuple[LibraryForm, frozenset[str]]] = {
    ".tar": ("tar", frozenset(FORMATS)),
    ".a": ("archive", frozenset(FORMATS)),
    ".so": ("shared", frozenset({"linux", "android"})),
    ".dylib": ("shared", frozenset({"macos"})),
    ".wasm": ("module", frozenset({"wasm"})),
}
"""End of a library's path -> its form, and the platforms that have it."""


@dataclass(frozen=True)
class Placement:
    """What a layout has of one cell.

    Attributes:
        owner: the variant whose library it uses: itself, but for fine-tunes that share one.
        prefix: what the runtime finds the model by.
        bundle: directory of its bundle, if wanted.
    """

    subject: str
    owner: str
    prefix: str
    backend: str
    library: str
    form: LibraryForm
    bundle: str | None


def form_of(path: str) -> tuple[LibraryForm, frozenset[str]] | None:
    """The form of a library by its path, and the platforms that have it; None for no path of a library."""
    return next((form for suffix, form in LIBRARY_FORMS.items() if path.endswith(suffix)), None)


def filled(pattern: str, cell: Cell) -> str:
    """The path that a pattern stands for."""
    return pattern.format(**cell.model.names, backend=cell.backend.name)


@dataclass(frozen=True)
class FilePlacement:
    """Outputs of a task in a layout.

    Attributes:
        task: `bundle:gemma-3n`, or one of a custom step.
        path: where they go: a directory for all of them, or, of the only one, its place.
        alone: whether it is the latter.
    """

    task: str
    path: str
    alone: bool


@dataclass(frozen=True)
class Maven:
    """The coordinates of an Android library, and whether the models' bundles go with it: `yes` is inside of it."""

    group: str
    artifact: str
    version: str
    assets: Literal["no", "yes", "play-asset-pack"] = "no"


@dataclass(frozen=True)
class Product:
    """What an app consumes, under `dist/<name>`.

    Attributes:
        backends: names of the backends whose archives are in it, each one in some cell of the matrix.
        templates: directory with the user's own templates, as `Source.path`, or None.
        base_url: where pages get a product of kind `web`, or None.
        programs: languages in which a program is built from the kit and run.
        layout: of kind `layout`: where everything goes, a rule a backend.
        files: of kind `layout`: what else is in it.
        maven: of kind `android`: what its AAR is called, if there is to be one.
        runtime_libraries: shared libraries that have the runtime on the device, where targets.yaml says so.
    """

    name: str
    kind: Literal["xcframework", "android", "native", "web", "layout"]
    backends: tuple[str, ...]
    templates: str | None
    where: Position = field(compare=False)
    base_url: str | None = None
    programs: tuple[str, ...] = ()
    layout: tuple[LayoutRule, ...] = ()
    files: tuple[FilePlacement, ...] = ()
    runtime_libraries: tuple[str, ...] | None = None
    maven: Maven | None = None


@dataclass(frozen=True)
class Runtime:
    """The libraries of TVM that an app links with the models, and where they come from; by default no backend has any.

    Attributes:
        source: a checkout of TVM or mlc_llm, as `Source.path`; None where nothing is built from one.
        libraries: targets of its CMake project; none means those that an app links.
        options: further variables for CMake.
        prebuilt: backend -> archives that somebody else built: path, and SHA-256 where it is pinned.
        backends: names of the backends that get a runtime.
        wheel: whether it comes from the toolchain's own package, where it is not prebuilt.
    """

    source: str | None = None
    libraries: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    prebuilt: Mapping[str, tuple[tuple[str, str | None], ...]] = field(default_factory=dict, hash=False)
    backends: tuple[str, ...] = ()
    where: Position | None = field(default=None, compare=False)
    wheel: bool = False

    def is_shared(self, backend: Backend) -> bool:
        """Whether a backend gets the shared libraries of a package, which only products of kind `native` hold."""
        return self.wheel and backend.format != "wasm" and backend.name not in self.prebuilt

    def is_in(self, product: Product, backend: Backend) -> bool:
        """Whether a product brings a backend's runtime along; of a layout: whether its modules are linked with it."""
        if product.kind == "layout":
            return backend.name in self.backends and backend.format == "wasm"
        return backend.name in self.backends and (product.kind == "native" or not self.is_shared(backend))


@dataclass(frozen=True)
class Twins:
    """How this machine runs kernels of models whose host code is for another machine: with host code of its own.

    The runtime for OpenCL is in a checkout of TVM; None where nothing names one.
    """

    platform: Platform
    triple: str
    checkout: str | None = None

    def lacks_checkout(self, backend: Backend) -> bool:
        """Whether a checkout is all that is missing for the kernels of a backend."""
        return self.platform == "linux" and backend.device_kind == "opencl" and self.checkout is None

    def run(self, backend: Backend) -> bool:
        """Whether kernels of the backend's kind can be run: OpenCL's on Linux, Metal's on a Mac."""
        if backend.device_kind == "metal":
            return self.platform == "macos"
        return self.platform == "linux" and self.checkout is not None
