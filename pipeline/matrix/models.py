"""A model of targets.yaml as `ModelVariant`s: options merged, prefix chosen, source and weights told apart.

`expand` calls `variants`, and `missing_files` for what the matrix uses; `files` for models that are files for other
runtimes, and `remarks` for the section `model_types`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.nearest import nearest

from . import mlc_options, model_schema, schema
from .cells import ForApps, ModelVariant
from .diagnostics import Diagnostics
from .loader import validate
from .matrix import ModelFile
from .paths import must_be_apart, must_define, must_exist, normal
from .source import FileKind, Function, Source
from .weights_schema import PathFile, PathWeights, source_of

_RESERVED = ("system_lib_prefix", "overrides")
_OF_MODELS = frozenset(
    {*model_schema.SOURCES, "compiler", "toolchain", "weights", "bundle", "check", "options", "variants"}
)
"""Keys of a model that would do nothing, in silence, if a variant had them as options of the recipe's."""

_SIZE = ("estimated_vram_bytes",)
"""What is said of a model that is compiled here by Relax; the rest is the recipe's."""

_SHORTEST_PREFIX = 8
_NEAR = 0.88
"""Similarity of difflib from which an option's name counts as a slip: `override` and `systemlibprefix` do."""


def variants(name: str, spec: model_schema.Model, problems: Diagnostics, kind: str | None = None) -> list[ModelVariant]:
    """All variants of a model, in the order of the file.

    `kind` is the `model_type` that the model's name stands for, where it has none of its own.
    """
    weights, prebuilt = source_of(spec.weights) if spec.weights else None, spec.prebuilt or {}
    compiler = spec.compiler or ("prebuilt" if spec.prebuilt else "relax")
    if compiler != "mlc":
        _refuse_loose(spec.options, ("models", name, "options"), problems)
    made = []
    for variant, changes in spec.variants.items():
        own = ("models", name, "variants", variant)
        free = {} if compiler == "mlc" else changes.model_extra or {}
        _refuse_loose({**free, "overrides": changes.overrides}, own, problems)
        options, app = _options(spec, changes), ForApps()
        if compiler == "mlc":
            options, app = _mlc({"model_type": kind, **options} if kind else options, own, problems)
        else:
            known = mlc_options.APP if compiler == "prebuilt" else _SIZE
            _catch_misspellings(changes, known, own, problems)
            options, app = _others(options, known, own, problems)
        prefix = changes.system_lib_prefix or spec.system_lib_prefix
        if prefix is None and compiler == "mlc" and (library := options.get("model_lib")) is not None:
            prefix = str(library).replace("-", "_") + "_"  # what mlc_llm's runtime looks for
        made.append(
            ModelVariant(
                model=name,
                variant=variant,
                prefix=prefix or default_prefix(name, variant),
                compiler=compiler,
                source=_source(spec),
                options=options,
                weights=weights,
                config=spec.config,
                bundle=spec.bundle,
                check=_function(spec.check) if spec.check else None,
                where=problems.document.at(own, key=True),
                weights_where=problems.document.at(("models", name, "weights"), key=True) if weights else None,
                toolchain=spec.toolchain or "current",
                unnamed=compiler == "mlc" and prefix is None and "conv_template" not in options,
                app=app,
                fetched={name: source_of(one) for name, one in prebuilt.items() if not isinstance(one, PathFile)},
            )
        )
    return made


def _mlc(
    options: Mapping[str, object], own: tuple[str, ...], problems: Diagnostics
) -> tuple[dict[str, object], ForApps]:
    """The options of an `mlc` model, which are known, in two parts: for the compiler and for apps."""
    read = validate(mlc_options.Options, dict(options), problems, own)
    if read is None:
        return {}, ForApps()
    given = read.model_dump(mode="json", exclude_none=True, exclude=set(mlc_options.APP))
    said = {key: value for key, value in given.items() if not isinstance(value, Mapping) or value}
    return said, mlc_options.for_apps(read)


def _others(
    options: Mapping[str, object], keys: Sequence[str], own: tuple[str, ...], problems: Diagnostics
) -> tuple[dict[str, object], ForApps]:
    """The options of any other model, which are the user's own, less those keys that apps and devices want to know."""
    read = validate(mlc_options.App, {key: options[key] for key in keys if key in options}, problems, own)
    app = ForApps() if read is None else mlc_options.for_apps(read)
    return {key: value for key, value in options.items() if key not in keys}, app


def default_prefix(model: str, variant: str) -> str:
    """The prefix of a variant that sets none: always one that `fields.check_prefix` accepts."""
    prefix = re.sub(r"[^A-Za-z0-9]", "_", f"{model}_{variant}_")
    return f"model_{prefix}" if len(prefix) < _SHORTEST_PREFIX or prefix[0].isdigit() else prefix


def missing_files(name: str, spec: model_schema.Model, root: Path, problems: Diagnostics) -> None:
    """Report every file of a model that is not there, and every function that is not in its file."""
    here = ("models", name)
    for key in ("onnx", "exported"):
        if (written := getattr(spec, key)) is not None:
            must_exist((*here, key), written, root, problems, folder=False)
    for backend, file in (spec.prebuilt or {}).items():
        place = (*here, "prebuilt") if backend == model_schema.ANY_BACKEND else (*here, "prebuilt", backend)
        if isinstance(file, PathFile):
            must_exist(place, file.path, root, problems)
    for key in ("factory", "check"):
        recipe = getattr(spec, key)
        if recipe is None:
            continue
        path, _, function = recipe.function.rpartition(":")
        if must_exist((*here, key), path, root, problems, folder=False):
            must_define((*here, key), path, function, root, problems)
        for number, read in enumerate(recipe.reads):
            must_exist((*here, key, "reads", number), read, root, problems)
    if isinstance(spec.weights, PathWeights):
        must_be_apart((*here, "weights", "path"), spec.weights.path, root, problems)


def _source(spec: model_schema.Model) -> Source:
    if spec.factory is not None:
        factory = _function(spec.factory)
        return Source("factory", factory.path, factory.function, factory.reads)
    if spec.onnx is not None:
        return Source("onnx", normal(spec.onnx))
    if spec.exported is not None:
        return Source("exported", normal(spec.exported))
    if spec.prebuilt is not None:
        files = {
            backend: (normal(file.path), file.sha256)
            for backend, file in spec.prebuilt.items()
            if isinstance(file, PathFile)
        }
        alone = files.get(model_schema.ANY_BACKEND)
        return Source("prebuilt", alone[0] if alone else "", prebuilt=files)
    return Source("checkpoint", "")


def _function(written: model_schema.RecipeFunction) -> Function:
    path, _, function = written.function.rpartition(":")
    return Function(normal(path), function, tuple(map(normal, written.reads)))


def _options(spec: model_schema.Model, variant: model_schema.Variant) -> dict[str, object]:
    options: dict[str, object] = {**spec.options, **(variant.model_extra or {})}
    base = spec.options.get("overrides", {})
    overrides = {**(base if isinstance(base, Mapping) else {}), **variant.overrides}
    return {**options, "overrides": overrides} if overrides else options


def _refuse_loose(value: object, place: tuple[str | int, ...], problems: Diagnostics) -> None:
    """Refuse `language: no` where anything may stand: false to YAML 1.1, text to YAML 1.2; see quirk YAML-4."""
    if isinstance(value, Mapping | list):
        for key, one in value.items() if isinstance(value, Mapping) else enumerate(value):
            _refuse_loose(one, (*place, key), problems)
    elif isinstance(value, bool) and (written := problems.document.written(place)):
        meant = str(value).lower()
        if written.lower() != meant:
            hint = f'write it in quotes: "{written}"; or {meant}, if that is meant'
            problems.add(place, f"{written} is {meant} to YAML, and text to other readers", hint)


def _catch_misspellings(
    variant: model_schema.Variant, keys: Sequence[str], own: tuple[str, ...], problems: Diagnostics
) -> None:
    """Any key of a variant is an option, so a slip in a key of ours would pass in silence. Catch the near ones."""
    known = (*_RESERVED, *keys)
    for key in variant.model_extra or {}:
        if key in _OF_MODELS:
            hint = (
                f"write it beside `variants`; an option that is really called `{key}` goes into the model's `options`"
            )
            problems.add((*own, key), f"`{key}` is a key of the model, not of a variant", hint, key=True)
        word = key.lower().replace("-", "_")
        begun = next((one for one in known if one.startswith(f"{word}_") and 2 * len(word) > len(one)), None)
        if key not in keys and (meant := nearest(word, known, _NEAR) or begun):
            hint = f"write `{meant}`; an option that is really called `{key}` goes into the model's `options`"
            problems.add((*own, key), f"this looks like `{meant}`", hint, key=True)


def remarks(targets: schema.Targets, variants: Iterable[ModelVariant], problems: Diagnostics) -> Iterator[str]:
    """What is right in `model_types` and may surprise, one line each, with its place."""
    own: dict[str, set[str]] = {}
    for model in variants:
        if model.compiler == "mlc":
            own.setdefault(model.model, set()).add(str(model.options.get("model_type")))
    seen: dict[str, str] = {}
    for pattern, kind in targets.model_types.items():
        place = problems.document.at(("model_types", pattern), key=True)
        fitting = [name for name in own if fnmatchcase(name, pattern)]
        if not fitting:
            yield f"{place}: `{pattern}` fits the name of no model of mlc_llm's"
        for name in fitting:
            first = seen.setdefault(name, pattern)
            if targets.model_types[first] != kind:
                yield f"{place}: {name} fits `{first}`, too, and is {targets.model_types[first]} by that, not {kind}"
            elif first == pattern and kind not in own[name]:
                yield f"{place}: {name} says itself that it is {', '.join(sorted(own[name]))}, not {kind}"


def is_file(spec: model_schema.Model) -> bool:
    """Whether a model of targets.yaml is a file for another runtime."""
    return spec.gguf is not None or spec.litert is not None


def files(targets: schema.Targets, root: Path, problems: Diagnostics) -> Iterator[ModelFile]:
    """Every such model, after reporting a file of the user's that is not there."""
    for name, spec in targets.models.items():
        kind: FileKind = "gguf" if spec.gguf is not None else "litert"
        written = spec.gguf or spec.litert
        if written is None:
            continue
        place = ("models", name, kind)
        if isinstance(written, PathFile):
            must_be_apart((*place, "path"), written.path, root, problems, folder=False)
        where = problems.document.at(place, key=True)
        sha256 = written.sha256 if isinstance(written, PathFile) else None
        yield ModelFile(name, kind, source_of(written), sha256, where, spec.estimated_vram_bytes)
