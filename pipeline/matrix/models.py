"""A model of targets.yaml as `ModelVariant`s: options merged, prefix chosen, source and weights told apart.

`expand` calls `variants`, and `missing_files` for what the matrix uses. Of the files it looks at recipes only, for the
names in them.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.action import Json

from . import mlc_options, schema
from .cells import Function, ModelVariant, Source
from .document import Steps
from .loader import validate
from .problems import Report
from .recipe_names import defined_names
from .weights_schema import WEIGHT_KINDS, PathWeights

_RESERVED = ("system_lib_prefix", "overrides")
_FUNCTIONS = ("factory", "check")
"""The keys that name a function in a file."""

_SHORTEST_PREFIX = 8
_NEAR = 0.88
"""Similarity of difflib from which an option's name counts as a slip: `override` and `systemlibprefix` do."""


def variants(name: str, spec: schema.Model, report: Report) -> list[ModelVariant]:
    """All variants of a model, in the order of the file.

    Args:
        name: the model's name.
        spec: what targets.yaml says.
        report: gives positions, gets the problems.
    """
    weights = _weights(spec)
    made = []
    for variant, changes in spec.variants.items():
        own = ("models", name, "variants", variant)
        compiler = spec.compiler or ("prebuilt" if spec.prebuilt else "relax")
        options, app = _options(spec, changes), dict[str, Json]()
        if compiler == "mlc":
            options, app = _mlc(options, own, report)
        else:
            _catch_misspellings(changes, own, report)
        if compiler == "prebuilt":
            options, app = _prebuilt(options, own, report)
        prefix = changes.system_lib_prefix or spec.system_lib_prefix or _prefix_of(options.get("model_lib"), compiler)
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
                where=report.document.at(own, key=True),
                weights_where=report.document.at(("models", name, "weights"), key=True) if weights else None,
                toolchain=spec.toolchain or "current",
                unnamed=compiler == "mlc" and prefix is None and "conv_template" not in options,
                app=app,
            )
        )
    return made


def _mlc(options: Mapping[str, Json], own: tuple[str, ...], report: Report) -> tuple[dict[str, Json], dict[str, Json]]:
    """The options of an `mlc` model, which are known, in two parts: for the compiler and for apps."""
    read = validate(mlc_options.Options, dict(options), report, own)
    return ({}, {}) if read is None else mlc_options.part(read)


def _prebuilt(
    options: Mapping[str, Json], own: tuple[str, ...], report: Report
) -> tuple[dict[str, Json], dict[str, Json]]:
    """The options of a prebuilt model, which are the user's own, less what apps want to know."""
    read = validate(mlc_options.App, {key: options[key] for key in mlc_options.APP if key in options}, report, own)
    app = {} if read is None else read.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in options.items() if key not in mlc_options.APP}, app


def _prefix_of(model_lib: str | None, compiler: str) -> str | None:
    """mlc_llm's runtime looks for a library's name with an underscore behind it, and makes hyphens underscores."""
    return model_lib.replace("-", "_") + "_" if model_lib is not None and compiler == "mlc" else None


def default_prefix(model: str, variant: str) -> str:
    """The prefix of a variant that sets none: always one that `fields.check_prefix` accepts."""
    prefix = re.sub(r"[^A-Za-z0-9]", "_", f"{model}_{variant}_")
    return f"model_{prefix}" if len(prefix) < _SHORTEST_PREFIX or prefix[0].isdigit() else prefix


def missing_files(name: str, spec: schema.Model, root: Path, report: Report) -> None:
    """Report every file of a model that is not there, and every function that is not in its file."""
    here = ("models", name)
    for key in dict.fromkeys((*schema.SOURCES, *_FUNCTIONS)):
        written = getattr(spec, key)
        if written is None:
            continue
        if key == "prebuilt":
            for backend, file in written.items():
                place = (*here, key) if backend == schema.ANY_BACKEND else (*here, key, backend)
                _exists(place, file.path, root, report)
            continue
        if key in _FUNCTIONS:
            path, _, function = written.function.rpartition(":")
            if _exists((*here, key), path, root, report):
                _must_define((*here, key), path, function, root, report)
            for number, read in enumerate(written.reads):
                _exists((*here, key, "reads", number), read, root, report)
            continue
        _exists((*here, key), written, root, report)
    if isinstance(spec.weights, PathWeights):
        _exists((*here, "weights", "path"), spec.weights.path, root, report)


def _exists(place: Steps, written: str, root: Path, report: Report) -> bool:
    path = root / written
    if path.exists():
        return True
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean `{near[0]}` there?" if near else report.relative
    report.add(place, f"there is no file `{written}`", hint)
    return False


def _must_define(place: Steps, written: str, function: str, root: Path, report: Report) -> None:
    names = defined_names(root / written)
    if names is not None and function not in names:
        near = difflib.get_close_matches(function, names, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"define `{function}` there, or name another function"
        report.add(place, f"`{written}` defines no `{function}`", hint)


def _source(spec: schema.Model) -> Source:
    if spec.factory is not None:
        factory = _function(spec.factory)
        return Source("factory", factory.path, factory.function, factory.reads)
    if spec.onnx is not None:
        return Source("onnx", normal(spec.onnx))
    if spec.exported is not None:
        return Source("exported", normal(spec.exported))
    if spec.prebuilt is not None:
        files = {backend: (normal(file.path), file.sha256) for backend, file in spec.prebuilt.items()}
        alone = files.get(schema.ANY_BACKEND)
        return Source("prebuilt", alone[0] if alone else "", prebuilt=files)
    return Source("checkpoint", "")


def _function(written: schema.RecipeFunction) -> Function:
    path, _, function = written.function.rpartition(":")
    return Function(normal(path), function, tuple(map(normal, written.reads)))


def normal(written: str) -> str:
    """A path of the file without detours; relative to the file's directory where it was written so."""
    return os.path.normpath(written)


def _weights(spec: schema.Model) -> dict[str, Json] | None:
    if spec.weights is None:
        return None
    fields: dict[str, Json] = spec.weights.model_dump(mode="json", exclude_defaults=True)
    if "path" in fields:
        fields["path"] = normal(fields["path"])
    return {"kind": next(kind for kind in WEIGHT_KINDS if kind in fields), **fields}


def _options(spec: schema.Model, variant: schema.Variant) -> dict[str, Json]:
    options: dict[str, Json] = {**spec.options, **(variant.model_extra or {})}
    base = spec.options.get("overrides", {})
    overrides = {**(base if isinstance(base, Mapping) else {}), **variant.overrides}
    return {**options, "overrides": overrides} if overrides else options


def _catch_misspellings(variant: schema.Variant, own: tuple[str, ...], report: Report) -> None:
    """Any key of a variant is an option, so a slip in a key of ours would pass in silence. Catch the near ones."""
    for key in variant.model_extra or {}:
        for known in difflib.get_close_matches(key.lower().replace("-", "_"), _RESERVED, n=1, cutoff=_NEAR):
            hint = f"write `{known}`; an option that is really called `{key}` goes into the model's `options`"
            report.add((*own, key), f"this looks like `{known}`", hint, key=True)
