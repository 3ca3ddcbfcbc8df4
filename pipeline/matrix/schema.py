"""The classes that validate `targets.yaml`, version 1.

`loader` runs them, docs/make_reference.py turns them into the JSON Schema for editors and docs/reference/targets.md:
the docstrings and descriptions here are that reference. They check what can be seen in one place; what needs two places
(a name that must exist elsewhere) is the business of `expand`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from pipeline.platforms import Platform

from .fields import (
    BaseUrl,
    Distinct,
    FileName,
    Link,
    MavenGroup,
    MavenVersion,
    Name,
    Names,
    OsVersion,
    Patterns,
    PythonVersion,
    Requirement,
    Strict,
    TvmRelease,
    wrong,
)
from .model_schema import Archives, Device, Model
from .step_schema import Step, StepName

VERSION = 1
"""The version of the format that these classes understand."""


class Toolchain(Strict):
    """A Python environment with a compiler in it: made of `requirements`, or one that exists (`path`), or the Python
    that runs doit where it has neither. `current` is that Python: it needs no entry and takes no keys."""  # noqa: D205, D209 - pydantic shows it as one paragraph

    requirements: Distinct[Requirement] = Field(
        default=(),
        description="What pip (or uv) installs into an environment of its own. What that turned out to be is pinned in "
        "slipway.lock.",
    )
    find_links: Distinct[Link] = Field(
        default=(), description="Pages with wheels, besides the index that pip is set up for."
    )
    pre: bool = Field(default=False, description="Whether pre-releases are taken.", strict=True)
    python: PythonVersion | None = Field(default=None, description='Version of Python, in quotes: "3.12".')
    path: FileName | None = Field(
        default=None,
        description="An environment that exists already, instead of requirements: its directory or its interpreter.",
    )
    source: FileName | None = Field(
        default=None,
        description="A checkout of mlc-llm, whose Python modules are used with the environment. `$MLC_LLM_SOURCE_DIR` "
        "stands for what that variable says.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Toolchain:
        if self.path is not None and (self.requirements or self.find_links or self.pre or self.python):
            raise wrong(
                "an existing environment (`path`) takes no requirements",
                "remove `path`, or everything else but `source`",
            )
        return self


class Backend(Strict):
    """Where a model runs: a preset with changes, or, for something no preset knows, `device`, `triple`, `platform` and
    `arch` all written out."""  # noqa: D205, D209 - see Toolchain

    preset: str | None = Field(default=None, description="Where to start from; the presets are listed below.")
    arch: Literal["arm64", "x86_64", "armv7", "wasm32"] | None = Field(
        default=None, description="Architecture, where the preset has several. The first in its list is the default."
    )
    deployment_target: OsVersion | None = Field(
        default=None, description="Lowest OS version of an Apple platform, in quotes. It becomes part of the triple."
    )
    device: dict[str, JsonValue] | None = Field(
        default=None,
        description="TVM target of the kernels, without its host: `{kind: opencl, max_num_threads: 512}`. Laid over "
        "the preset's key by key; another `kind` replaces it.",
    )
    triple: FileName | None = Field(
        default=None, description="LLVM triple of the host code. `{deployment_target}` in it stands for that version."
    )
    platform: Platform | None = Field(default=None, description="Platform, where there is no preset.")
    kernels: Literal["source", "metallib"] | None = Field(
        default=None,
        description="Of a Metal device: `source` (the default) is compiled on the device when a model is loaded, and "
        "can be built anywhere; `metallib` is compiled here, which needs Xcode and its Metal toolchain.",
    )
    system_libraries: Patterns | None = Field(
        default=None, description="System libraries an app must link, instead of the preset's."
    )
    frameworks: Patterns | None = Field(
        default=None, description="Apple frameworks an app must link, instead of the preset's."
    )
    runners: Names | None = Field(
        default=None,
        description="What runs the models' checks; left out, every runner that can: of a wasm backend `browser` and "
        "`webgpu` (its device is WebGPU) or `node` (its device is the CPU).",
    )


class Include(Strict):
    """Values to add to combinations, or a combination to add."""

    model: Name | None = Field(default=None, description="A model (all its variants) or one variant, `minilm-f32`.")
    backend: Name | None = Field(default=None, description="A backend.")
    toolchain: Name | None = Field(default=None, description="A toolchain.")


class Exclude(Include):
    """Combinations to leave out: all that have every value given here. A key must be an axis of the matrix."""


class MatrixAxes(Strict):
    """Which model is compiled for which backend: the product of the axes, less `exclude`, plus `include`, exactly as in
    GitHub Actions."""  # noqa: D205, D209 - see Toolchain

    model: Names | None = Field(
        default=None, description="Models (a name stands for all variants) or single variants (`minilm-f32`)."
    )
    backend: Names | None = Field(default=None, description="Backends.")
    toolchain: Names | None = Field(
        default=None, description="Toolchains. A combination without one is compiled by its model's `toolchain`."
    )
    include: Distinct[Include] = Field(default=(), description="Additions, made after the exclusions.")
    exclude: Distinct[Exclude] = Field(default=(), description="Exclusions.")


class LaidOut(Strict):
    """Where a product of kind `layout` puts a backend's models. In both paths `{model}`, `{variant}`, `{subject}`
    (`minilm-f32`) and `{backend}` stand for names."""  # noqa: D205, D209 - see Toolchain

    library: FileName = Field(
        description="Path of each model's library, below `dist/<name>`. Its end says the form: `.tar` (the objects, as "
        "mlc_llm writes them), `.a`, `.so` (Linux, Android), `.dylib` (macOS), `.wasm` (a module for pages)."
    )
    bundle: FileName | None = Field(
        default=None,
        description="Directory, below `dist/<name>`, that gets each model's bundle (weights, tokenizer, configuration) "
        "as links: however many backends name one, it lies on the disk once.",
    )


class LaidOutFiles(Strict):
    """Where a product of kind `layout` puts what a task has put out, as links to the one copy on the disk: a model's
    bundle (a GGUF or LiteRT file has one, too), or the outputs of a step. In a path `{model}`, `{variant}`, `{subject}`
    and `{backend}` stand for names, as far as the task has them."""  # noqa: D205, D209 - see Toolchain

    file: FileName | None = Field(
        default=None,
        description="Path of its one file, below `dist/<name>`: of the file that a GGUF or LiteRT model is, or of the "
        "only output of a step.",
    )
    directory: FileName | None = Field(
        default=None, description="Directory, below `dist/<name>`, that gets all of its files, instead."
    )

    @model_validator(mode="after")
    def _one_place(self) -> LaidOutFiles:
        if (self.file is None) == (self.directory is None):
            raise wrong("outputs are laid out as a `file` or in a `directory`", "give one of them")
        return self


class Maven(Strict):
    """Coordinates of an Android library (AAR), which is written to `dist/<name>/maven` as in a Maven repository."""

    group: MavenGroup = Field(description="Group, `com.example.models`. With the artifact it is the library's package.")
    artifact: Name = Field(description="Artifact, and the name of the package of CMake (prefab).")
    version: MavenVersion = Field(description='Version, in quotes: "1.0.0".')
    assets: Literal[True, False, "play-asset-pack"] = Field(
        default=False,
        description="Whether the models' bundles go with it: `true` puts them into the AAR, `play-asset-pack` into a "
        "Gradle module for Play Asset Delivery in `dist/<name>/play-asset-pack`, as links.",
    )


class Product(Strict):
    """What an app consumes, written to `dist/<name>`."""

    kind: Literal["xcframework", "android", "native", "web", "layout"] = Field(
        description="`xcframework` for Apple platforms, `android`, `native` for Rust, C++ and CMake, `web` for wasm, "
        "`layout` for a tree of your own, whose paths `layout` says."
    )
    backends: Names = Field(
        default=(),
        description="Backends whose libraries go into it, each one used in the matrix. Every kind needs them but a "
        "`layout` of `files` alone.",
    )
    templates: FileName | None = Field(
        default=None, description="A directory: a file in it replaces the link kit's template of the same name."
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description="Of kind `web`: where pages get `dist/<name>`, an address that ends in `/`. It comes before every "
        "path in WebLLM's records, which are relative without it, and has them change with the bytes.",
    )
    programs: Distinct[Literal["cpp", "rust"]] | None = Field(
        default=None,
        description="Of kind `native`: in which languages a program is built from the kit and run with the models' "
        "checks, by CMake or Cargo, before the product is published. Left out, in both; `[]`: in none.",
    )
    layout: dict[Name, LaidOut] | None = Field(
        default=None, description="Of kind `layout`: the paths of each of its backends."
    )
    files: dict[FileName, LaidOutFiles] | None = Field(
        default=None,
        description="Of kind `layout`: further files, by the task that puts them out, `bundle:gemma-3n`. With `*` "
        "behind the colon several, `ava3:*`.",
    )
    maven: Maven | None = Field(
        default=None,
        description="Of kind `android`: an AAR with shared libraries for all of its ABIs, under this name.",
    )
    runtime_libraries: Names | None = Field(
        default=None,
        description="Of kind `layout`, or with `maven`: the shared libraries that have the TVM runtime where a `.so` "
        "or `.dylib` is loaded, without `lib` and suffix, `[tvm_runtime]`. Left out, `tvm_ffi` and `tvm_runtime`.",
    )


CMakeValue = Annotated[
    str,
    BeforeValidator(lambda value: {True: "ON", False: "OFF"}[value] if isinstance(value, bool) else str(value)),
    WithJsonSchema({"type": ["string", "boolean", "number"]}),
]


class Runtime(Strict):
    """The TVM runtime that products bring along beside the models: built from a checkout (by CMake, or for wasm by
    emscripten), taken from the toolchain's own package, or archives that somebody else built."""  # noqa: D205, D209 - see Toolchain

    source: FileName | None = Field(
        default=None,
        description="A checkout of TVM or of mlc-llm, with its submodules. It is only read. `$MLC_LLM_SOURCE_DIR` and "
        "`$TVM_SOURCE_DIR` stand for what those variables say.",
    )
    wheel: bool = Field(
        default=False,
        strict=True,
        description="Whether the runtime comes from the package apache-tvm of the toolchain that compiles: for wasm "
        "from the sources in it, by emscripten; for Linux (CPU) and macOS (CPU, Metal) the shared libraries of that "
        "machine's package, with headers, in products of kind `native`. Other backends get none from there.",
    )
    backends: Names | None = Field(
        default=None,
        description="Which backends get a runtime; left out, all that are in a product, with `wheel` in one whose "
        "backends can all have one.",
    )
    libraries: Patterns = Field(
        default=(),
        description="CMake targets whose archives are wanted; left out, those that an app links of TVM or of mlc-llm.",
    )
    options: dict[str, CMakeValue] = Field(
        default={}, description="Further variables for CMake, `{USE_MPS: ON}`; they win over ours."
    )
    prebuilt: dict[Name, Archives] = Field(
        default={},
        description="Archives that somebody else built, instead of a build: for each backend the files, "
        "`{ios-arm64: [libs/libtvm_runtime.a, {path: libs/libtvm_ffi_static.a, sha256: …}]}`.",
    )

    @model_validator(mode="after")
    def _from_somewhere(self) -> Runtime:
        if self.source is None and not self.prebuilt and not self.wheel:
            raise wrong(
                "this runtime comes from nowhere",
                "add `source:` (a checkout), `wheel: true` (the toolchain's package) or `prebuilt:` (archives)",
            )
        if self.source is not None and self.wheel:
            raise wrong("this runtime comes from a checkout and from a package", "remove `source:` or `wheel:`")
        return self


def _whole(written: JsonValue) -> JsonValue:
    """To Python, and so to pydantic, `true` and `1.0` equal 1."""
    return written if type(written) is int else str(written)


class Targets(Strict):
    """The whole file. Paths in it are relative to its directory."""

    version: Annotated[Literal[1], BeforeValidator(_whole)] = Field(description="Version of this format.")
    name: Name = Field(default="models", description="Base name of the libraries: `models` gives `libmodels.a`.")
    toolchains: dict[Name, Toolchain] = Field(default={}, description="Compilers, by name. `current` is always there.")
    models: dict[Name, Model] = Field(min_length=1, description="Models, by name.")
    model_types: dict[FileName, Name] = Field(
        default={},
        description="What `mlc_llm compile` is told models are (`--model-type`), by patterns of their names: "
        '`{"AVA-LL32-*": llama}`. The first that fits holds, and a `model_type` of the model\'s own wins.',
    )
    backends: Annotated[dict[Name, Backend], Field(min_length=1)] = Field(
        default={}, description="Backends, by name. Needed unless every model is a GGUF or LiteRT file."
    )
    matrix: MatrixAxes = Field(
        default=MatrixAxes(),
        description="Which model is compiled for which backend. Needed unless every model is a GGUF or LiteRT file.",
    )
    products: dict[Name, Product] = Field(default={}, description="Products, by name.")
    steps: dict[StepName, Step] = Field(
        default={}, description="Commands of yours that are tasks like any other, by name."
    )
    runtime: Runtime | None = Field(
        default=None, description="The TVM runtime that products bring along; left out, the app has its own."
    )
    runtime_version: TvmRelease | None = Field(
        default=None,
        description='The release of TVM whose runtime apps have, where that is not the one that compiles: "0.22.0". '
        "Objects that it cannot run are refused, and so is a runtime of another age.",
    )
    devices: dict[Name, Device] = Field(
        default={}, description="Devices, by name: what models are for, and how much memory there is for them."
    )
