"""The classes that validate the models of `targets.yaml`: sources, recipes, variants, the devices they are for.

As in `schema`, which puts them together, docstrings and descriptions are the reference of the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from .fields import (
    FUNCTION_PATTERN,
    Distinct,
    FileName,
    FunctionName,
    MemorySize,
    Name,
    Names,
    Patterns,
    Prefix,
    Short,
    Strict,
    wrong,
)
from .weights_schema import PathFile, SourceFile, Weights

FILES = ("gguf", "litert")
"""The keys of models that are files for other runtimes: they are bundled as they are."""

SOURCES = ("factory", "onnx", "exported", "prebuilt", *FILES)
"""The keys of which a model has one, unless its weights say what it is (compiler `mlc`)."""


ANY_BACKEND = "*"
"""In `Model.prebuilt`, what a file that was given alone is for."""

Prebuilt = Annotated[dict[str, Annotated[SourceFile, Short("path")]], Short(ANY_BACKEND)]

Archives = Annotated[Distinct[Annotated[PathFile, Short("path")]], Field(min_length=1)]


class RecipeFunction(Strict):
    """A Python function in a file of yours, and what it reads. `file.py:name` alone is short for `{function: …}`."""

    function: FunctionName = Field(description="The file, relative to targets.yaml, and the name: `recipe.py:build`.")
    reads: Patterns = Field(
        default=(),
        description="Files and directories that the function reads besides the Python files it imports (reference "
        "numbers, tables). What changes in them makes its results stale; no other file of yours can be read.",
    )


Recipe = Annotated[RecipeFunction, Short("function", FUNCTION_PATTERN)]


class Variant(BaseModel):
    """One way to compile a model. Every key besides those below is an option of yours: the recipe finds it in
    `spec.options`, where it replaces the model's option of the same name. Only `estimated_vram_bytes`, what the variant
    takes of a device's memory, is none of the recipe's."""  # noqa: D205, D209 - see `schema.Toolchain`

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, JsonValue]

    system_lib_prefix: Prefix | None = Field(
        default=None, description="As for the model, for this variant only; it wins over the model's."
    )
    overrides: dict[str, JsonValue] = Field(
        default={},
        description="Changes to the model's own configuration, by key, laid over `overrides` in the model's options. "
        "The recipe finds them in `spec.options['overrides']`.",
    )


_PLAIN = Variant.model_validate({})

_ONE_SOURCE: list[JsonValue] = [
    {"required": ["factory"]},
    {"required": ["onnx"]},
    {"required": ["exported"]},
    {"required": ["prebuilt"]},
    {"required": ["gguf"]},
    {"required": ["litert"]},
    {"required": ["compiler", "weights"], "properties": {"compiler": {"const": "mlc"}}},
]


class Model(Strict):
    """What is compiled: exactly one source (`factory`, `onnx`, `exported` or `prebuilt`), weights, and variants. Or a
    file for another runtime (`gguf`, `litert`), which is bundled as it is: its only other key is
    `estimated_vram_bytes`."""  # noqa: D205, D209 - see `schema.Toolchain`

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE_SOURCE})

    factory: Recipe | None = Field(
        default=None,
        description="A Python function, `recipes/minilm.py:build`, that returns an IRModule and its parameters. "
        "Where it reads files besides, `{function: recipes/minilm.py:build, reads: [recipes/table.csv]}`.",
    )
    onnx: FileName | None = Field(default=None, description="An ONNX file.")
    exported: FileName | None = Field(default=None, description="A program saved by `torch.export.save` (`.pt2`).")
    prebuilt: Prebuilt | None = Field(
        default=None,
        description="Objects that somebody else compiled: a file (`.tar`, `.a`, `.o`), or one for each backend, "
        "`{ios-arm64: libs/ios.tar, android-arm64: {path: libs/android.tar, sha256: …}}`. One that is fetched comes "
        "from the hub (`hf`, `revision`, `file`), a `url` (and `sha256`) or a `package` (`version`, `file`).",
    )
    gguf: SourceFile | None = Field(
        default=None,
        description="A GGUF file, for llama.cpp: from a package, the hub, a URL or a path, `{hf: owner/name, revision: "
        "main, file: model-Q4_K_M.gguf}`. It is no part of the matrix.",
    )
    litert: SourceFile | None = Field(
        default=None, description="The same with a `.tflite` or `.task` file, for LiteRT (Google AI Edge)."
    )
    estimated_vram_bytes: Annotated[int, Field(gt=0, lt=1 << 63, strict=True)] | None = Field(
        default=None,
        description="Of a GGUF or LiteRT file: what it takes of a device's memory, with the cache of its context. Of "
        "other models each variant says it.",
    )
    compiler: Literal["relax", "mlc", "prebuilt"] | None = Field(
        default=None,
        description="What makes objects of it. Left out, it is `prebuilt` for a prebuilt source and `relax` for any "
        "other. `mlc` needs no source: its weights say what the model is.",
    )
    toolchain: Name | None = Field(
        default=None, description="What compiles it where the matrix names no toolchain; `current` where left out."
    )
    weights: Weights | None = Field(
        default=None, description="Where the weights come from; none for a model that makes its own."
    )
    config: Patterns = Field(
        default=("*config.json",),
        description="Which files of the weights a recipe may read while compiling. No other file of the weights can "
        "cause a recompile.",
    )
    bundle: Patterns = Field(
        default=("tokenizer*", "*config.json", "vocab*", "merges.txt", "special_tokens_map.json"),
        description="Which files of the weights an app needs beside the library and the parameters.",
    )
    check: Recipe | None = Field(
        default=None,
        description="A Python function that compares the numbers of the model, run on this machine, with known ones; "
        "`reads` names the files that it has them from.",
    )
    options: dict[str, JsonValue] = Field(
        default={}, description="Anything the recipe wants to know, for all variants: it finds them in `spec.options`."
    )
    system_lib_prefix: Prefix | None = Field(
        default=None,
        description="What an app asks the runtime for, and the start of all symbols. Left out, it is "
        "`<model>_<variant>_` with every other character replaced by `_`, and `model_` put before what is shorter than "
        "8 characters or starts with a digit.",
    )
    variants: dict[Name, Variant] = Field(
        default={"default": _PLAIN},
        min_length=1,
        description="Named sets of options. `f32` of `minilm` is called `minilm-f32` everywhere.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        given = [source for source in SOURCES if getattr(self, source) is not None]
        more = sorted(self.model_fields_set - {*given, "estimated_vram_bytes"})
        if more and len(given) == 1 and given[0] in FILES:
            raise wrong(
                f"a model of `{given[0]}` is not compiled, and takes no `{more[0]}`", f"remove {', '.join(more)}"
            )
        if self.estimated_vram_bytes is not None and given[:1] not in [[one] for one in FILES]:
            raise wrong("`estimated_vram_bytes` is said of a variant", "write it under the model's `variants`")
        if self.compiler == "mlc":
            if given:
                raise wrong("compiler mlc takes weights and no other source", f"remove {', '.join(given)}")
            if self.weights is None:
                raise wrong("compiler mlc needs weights", "add `weights:`, they say what the model is")
        elif len(given) != 1:
            has = "has no source" if not given else f"has {len(given)} sources ({', '.join(given)})"
            raise wrong(f"this model {has}", f"give it exactly one of {', '.join(SOURCES)}")
        elif self.compiler is not None and (self.compiler == "prebuilt") != (given == ["prebuilt"]):
            raise wrong(f"compiler {self.compiler} cannot take {given[0]}", "leave `compiler` out")
        return self


GpuFamily = Literal["adreno", "mali", "powervr", "xclipse", "apple", "nvidia", "amd", "intel", "none"]
DeviceOs = Literal["android", "ios", "xros", "tvos", "watchos", "macos", "linux"]


class Device(Strict):
    """A device that models are for. `doit devices` says which model and backend it gets, and what is left of its
    memory; a model that is named here and does not fit is an error."""  # noqa: D205, D209 - pydantic shows it as one paragraph

    gpu: GpuFamily = Field(description="Family of its GPU; a backend that is made for another one is not for it.")
    ram: MemorySize = Field(description="Its memory, as it is sold: `4GB`; GB are decimal, GiB are binary.")
    os: DeviceOs = Field(description="Its system, as the platforms of backends are called; visionOS is `xros`.")
    usable: Annotated[float, Field(gt=0, le=1, strict=True)] | None = Field(
        default=None,
        description="Share of the memory that an app can use for its model; left out, 0.5.",
    )
    reserved: MemorySize | None = Field(
        default=None, description="What system and app need themselves, instead of a share: `1.5GB`."
    )
    backends: Names | None = Field(
        default=None,
        description="Backends for it, the best first; left out, those of the matrix that can run on it, in the order "
        "of the file.",
    )
    models: Names | None = Field(
        default=None,
        description="What it must be able to hold: single variants, or models, of which it gets the first variant that "
        "fits. No product is published that has one for it which does not. Left out, it gets what fits.",
    )

    adb_model: Annotated[Patterns, Field(min_length=1)] | None = Field(
        default=None,
        description="Of an Android device: what `adb devices -l` prints behind `model:`, or patterns of it, "
        "`[SM_S911*]`. `doit deploy` knows the device by it, and pushes no model that does not fit.",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Device:
        if self.usable is not None and self.reserved is not None:
            raise wrong("`usable` and `reserved` say the same thing twice", "keep one of them")
        if self.adb_model is not None and self.os not in {"android", "linux"}:
            raise wrong(f"adb reaches no device that runs {self.os}", "remove `adb_model`")
        return self
