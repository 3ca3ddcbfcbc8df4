"""Reads `mlc-package-config.json`, the input of `mlc_llm package`, and says the same as targets.yaml.

`commands.import_config` calls `read` and `merge`; `package_yaml` writes the file. Such a config is for one device;
several become one matrix, in which a model that is built alike for two devices is one variant. Nothing is fetched here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.action import Json
from pipeline.errors import MatrixError, Position

DEVICES = ("iphone", "macabi", "android")

_QUANTIZATION = re.compile(r"-((?:q\d(?:b?f\d+)(?:_\d|_ft|_autoawq)?)|(?:e\dm\d_\w+)|(?:fp8_\w+))$")
"""A quantization of mlc_llm at the end of a model's id."""

_KEYS = {"model", "model_id", "estimated_vram_bytes", "bundle_weight", "overrides", "model_lib"}
_HINT = "compare with https://llm.mlc.ai/docs/compilation/package_libraries_and_weights.html"


@dataclass(frozen=True)
class Record:
    """One entry of a `model_list`.

    Attributes:
        device: of its file.
        weights: `{"hf", "revision"}` or `{"path"}`.
        model_id: the app's name for it.
        options: what a variant of ours says: overrides, opt, model_lib, and what is for apps.
        prebuilt: the library that stands for a compile, or None.
    """

    device: str
    weights: Mapping[str, Json]
    model_id: str
    options: Mapping[str, Json]
    prebuilt: str | None


@dataclass
class Variant:
    """A variant of a model, and the devices it is built for."""

    name: str
    options: Mapping[str, Json]
    devices: list[str] = field(default_factory=list)


@dataclass
class Model:
    """A model: one source of weights, compiled, or linked from what somebody else compiled."""

    name: str
    weights: Mapping[str, Json]
    prebuilt: dict[str, str]
    variants: list[Variant] = field(default_factory=list)


def read(path: Path, base: Path) -> list[Record]:
    """Read a package config.

    Args:
        path: the file.
        base: the directory that paths in targets.yaml will be relative to.

    Raises:
        MatrixError: it cannot be read, or says something that `mlc_llm package` would refuse.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as bad:
        raise MatrixError(f"cannot be read: {bad.strerror}", where=path, hint="name a package config") from None
    except UnicodeDecodeError:
        raise MatrixError("is not UTF-8 text", where=path, hint="save it as UTF-8") from None
    except json.JSONDecodeError as bad:
        where = Position(str(path), bad.lineno, bad.colno)
        raise MatrixError(f"is no JSON: {bad.msg}", where=where, hint="correct it") from None
    if not isinstance(document, dict) or document.get("device") not in DEVICES:
        raise MatrixError(f"has no `device` out of {', '.join(DEVICES)}", where=path, hint=_HINT)
    entries, libraries = document.get("model_list", []), document.get("model_lib_path_for_prepare_libs", {})
    if not isinstance(entries, list) or not entries:
        raise MatrixError("has no `model_list`", where=path, hint=_HINT)
    if not isinstance(libraries, dict):
        raise MatrixError("`model_lib_path_for_prepare_libs` is no mapping", where=path, hint=_HINT)
    place = os.path.relpath(path.absolute().parent, base.absolute())
    return [_record(entry, f"{path}: model_list[{i}]", document["device"], libraries, place)
            for i, entry in enumerate(entries)]  # fmt: skip


def _record(entry: Json, where: str, device: str, libraries: Mapping[str, Json], place: str) -> Record:
    wanted: dict[str, type] = {"model": str, "model_id": str, "estimated_vram_bytes": int}
    if not isinstance(entry, dict) or any(not isinstance(entry.get(key), kind) for key, kind in wanted.items()):
        raise MatrixError("needs `model`, `model_id` and `estimated_vram_bytes`", where=where, hint=_HINT)
    strange = sorted(set(entry) - _KEYS)
    if strange:
        raise MatrixError(f"mlc_llm knows no `{strange[0]}` here", where=where, hint="remove it")
    overrides = dict(entry.get("overrides") or {})
    options: dict[str, Json] = {"model_id": entry["model_id"], "estimated_vram_bytes": entry["estimated_vram_bytes"]}
    if entry.get("bundle_weight"):
        options["bundle_weight"] = True
    if (opt := overrides.pop("opt", None)) is not None:
        options["opt"] = opt
    if overrides:
        options["overrides"] = overrides
    model_lib = entry.get("model_lib")
    if model_lib is not None:
        options["model_lib"] = model_lib
    library = libraries.get(model_lib) if model_lib is not None else None
    return Record(
        device=device,
        weights=_weights(entry["model"], where, place),
        model_id=entry["model_id"],
        options=options,
        prebuilt=None if library is None else _inside(place, str(library)),
    )


def _weights(model: str, where: str, place: str) -> dict[str, Json]:
    """Where the weights are; mlc_llm always takes the default branch."""
    repository = re.fullmatch(r"(?:HF://|https://huggingface\.co/)([^/]+/[^/]+?)/?", model)
    if repository:
        return {"hf": repository[1], "revision": "main"}
    if "://" in model:
        hint = "put the weights on the hub, or download them and name the directory"
        raise MatrixError(f"`{model}` is neither a repository of the hub nor a directory", where=where, hint=hint)
    return {"path": _inside(place, model)}


def _inside(place: str, path: str) -> str:
    return os.path.normpath(path if os.path.isabs(path) else os.path.join(place, path))  # noqa: PTH117, PTH118 - text


def merge(records: Iterable[Record]) -> list[Model]:
    """The models of all configs; equal records of two devices are one variant.

    Raises:
        MatrixError: two records of one device that mlc_llm could not tell apart either.
    """
    models: dict[str, Model] = {}
    for record in records:
        name, quantization = _named(record.model_id)
        model = _model(models, name, record)
        same = next((one for one in model.variants if one.options == record.options), None)
        if same is None:
            taken = {one.name for one in model.variants}
            for candidate in (quantization, f"{quantization}-{record.device}"):
                if candidate not in taken:
                    break
            else:
                raise MatrixError(
                    f"`{record.model_id}` is there twice for {record.device}, with different options",
                    hint="give one of them another model_id",
                )
            same = Variant(candidate, record.options)
            model.variants.append(same)
        if record.device not in same.devices:
            same.devices.append(record.device)
        if record.prebuilt is not None:
            model.prebuilt[record.device] = record.prebuilt
    return list(models.values())


def _model(models: dict[str, Model], name: str, record: Record) -> Model:
    """The model of that name and these weights, compiled or prebuilt as the record is."""
    for candidate in (name, f"{name}-{record.device}", f"{name}-{record.device}-prebuilt"):
        model = models.setdefault(candidate, Model(candidate, record.weights, {}))
        fits = not model.variants or bool(model.prebuilt) == (record.prebuilt is not None)
        alone = record.prebuilt is None or not model.variants or model.variants[0].options == record.options
        if model.weights == record.weights and fits and alone:
            return model
    raise MatrixError(
        f"`{record.model_id}` is there with different weights or libraries for {record.device}",
        hint="give one of them another model_id",
    )


def _named(model_id: str) -> tuple[str, str]:
    """Names of the model and its variant, from an app's name for both: `Qwen3-0.6B-q4f16_1-MLC`."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", model_id.removesuffix("-MLC")).lstrip("_.-") or "model"
    found = _QUANTIZATION.search(plain)
    return (plain[: found.start()] or "model", found[1]) if found else (plain, "default")
