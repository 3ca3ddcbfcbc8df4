"""Reader of `mlc-package-config.json`, the input of `mlc_llm package`; `commands.import_config` calls it.

Such a config is for one device; several become one matrix, in which a model that is built alike for two devices is one
variant. `package_yaml` writes the file. What targets.yaml has no place for is left out with a note.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from pipeline.compilers.mlc_names import OVERRIDES, opt_text
from pipeline.documents import untrusted
from pipeline.documents.codec import decode
from pipeline.errors import FormatError, MatrixError, StepError
from pipeline.matrix.fields import LONGEST_NAME
from pipeline.nearest import nearest
from pipeline.platforms import unportable
from pipeline.transport.http import redact

APPLE = ("iphone", "macabi")
DEVICES = (*APPLE, "android")

_QUANTIZATION = re.compile(r"-((?:q\d(?:b?f\d+)(?:_\d|_ft|_autoawq)?)|(?:e\dm\d_\w+)|(?:fp8_\w+))$")
"""A quantization of mlc_llm at the end of a model's id."""

_LIBRARIES = "model_lib_path_for_prepare_libs"
_TOP = ("device", "model_list", _LIBRARIES)
_OVERRIDES = (*OVERRIDES, "opt")
_HINT = "compare with https://llm.mlc.ai/docs/compilation/package_libraries_and_weights.html"
LARGEST_BYTES = 4 << 20
MOST_RECORDS = 500
"""Entries of a `model_list`; the longest that apps have are of some twenty."""
MOST_STRANGE = 50
"""Keys that are not known and left out, each with a note."""
_MISSPELT = 0.8
"""How alike an unknown key is to a known one that was probably meant."""

_HUB = re.compile(r"(?:HF://|https://huggingface\.co/)([^/?#]+/[^/?#]+?)(?:\.git)?/?")
"""The addresses of a repository that mlc_llm takes."""
_PAGE = re.compile(r"(?i:hf:/*|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)([^/]+/[^/?#]+)(?:[/?#].*)?")
"""Other addresses of one, as browsers and other tools have them."""
_NUMBER = re.compile(r"-?[0-9]{1,10}")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/].*|.*\\.*")

Note = Callable[[str], None]


@dataclass(frozen=True)
class Record:
    """One entry of a `model_list`.

    Attributes:
        device: of its file.
        weights: `{"hf", "revision"}` or `{"path"}`.
        model_id: the app's name for it.
        options: what a variant of ours says: overrides, opt, and what is for apps.
        model_lib: the name of its library, where that is said.
        prebuilt: the library that stands for a compile, or None.
    """

    device: str
    weights: Mapping[str, object]
    model_id: str
    options: Mapping[str, object]
    model_lib: str | None
    prebuilt: str | None


@dataclass
class Variant:
    """A variant of a model, and the devices it is built for."""

    name: str
    options: Mapping[str, object]
    model_lib: str | None
    devices: list[str] = field(default_factory=list)


@dataclass
class Model:
    """A model: one source of weights, compiled here or prebuilt."""

    name: str
    weights: Mapping[str, object]
    prebuilt: dict[str, str]
    variants: list[Variant] = field(default_factory=list)


def read(path: Path, base: Path, note: Note = lambda _: None) -> list[Record]:
    """Read a package config; `base` is what paths in targets.yaml will be relative to, `note` is told what is left out.

    Raises:
        MatrixError: it cannot be read, or says something that `mlc_llm package` would refuse or ignore by mistake.
    """
    data = untrusted.read(path, LARGEST_BYTES, MatrixError)
    if data.startswith(untrusted.MARK):
        note(f"{path}: it begins with a byte order mark, which mlc_llm refuses: save it as UTF-8 without one")
    document = untrusted.parse(data, str(path), MatrixError)
    device = document.get("device") if isinstance(document, dict) else None
    if device not in DEVICES:
        raise MatrixError(f"has no `device` out of {', '.join(DEVICES)}", where=path, hint=_HINT)
    _leave_out(document, _TOP, str(path), note)
    entries, libraries = document.get("model_list"), document.get(_LIBRARIES, {})
    if not isinstance(entries, list) or not entries:
        raise MatrixError("has no `model_list`", where=path, hint=_HINT)
    if len(entries) > MOST_RECORDS:
        raise MatrixError(f"`model_list` has more than {MOST_RECORDS} entries", where=path, hint="split the config")
    if not isinstance(libraries, dict) or not all(isinstance(library, str) for library in libraries.values()):
        raise MatrixError(f"`{_LIBRARIES}` is not a mapping of names to files", where=path, hint=_HINT)
    place = os.path.relpath(path.absolute().parent, base.absolute())
    reader = _Reader(device, libraries, place, path.parent, note)
    records = [reader.record(entry, f"{path}: model_list[{i}]") for i, entry in enumerate(entries)]
    named = {record.model_lib for record in records}
    unnamed = sorted(libraries.keys() - named)
    if len(unnamed) > MOST_STRANGE:
        raise MatrixError(f"has {len(unnamed)} libraries that no entry names", where=path, hint="remove them")
    for name in unnamed:
        note(f"{path}: the library `{name}` is left out: no entry of `model_list` has it as its `model_lib`")
    return records


def _leave_out(found: Mapping[str, object], known: Collection[str], where: str, note: Note) -> dict[str, object]:
    """What is known of a mapping. A key that looks like a misspelt one is refused, any other is left out."""
    strange = sorted(set(found) - set(known))
    if len(strange) > MOST_STRANGE:
        raise MatrixError(f"has {len(strange)} keys that mlc_llm does not know", where=where, hint=_HINT)
    for key in strange:
        shown = key[:80]
        if meant := nearest(key, set(known) - set(found), _MISSPELT):
            what = f"mlc_llm knows no `{shown}` here and ignores it"
            raise MatrixError(what, where=where, hint=f"write `{meant}`, or remove it")
        note(f"{where}: `{shown}` is left out: mlc_llm ignores it")
    return {key: value for key, value in found.items() if key in known}


@dataclass(frozen=True)
class _Entry:
    """What mlc_llm knows of an entry of `model_list`."""

    model: str
    model_id: str
    estimated_vram_bytes: object
    bundle_weight: bool | None = None
    overrides: Mapping[str, object] | None = None
    model_lib: str | None = None


@dataclass(frozen=True)
class _Reader:
    """What the entries of one config share."""

    device: str
    libraries: Mapping[str, str]
    place: str
    folder: Path
    note: Note

    def record(self, entry: object, where: str) -> Record:
        """Read one entry of `model_list`."""
        if not isinstance(entry, dict) or not {"model", "model_id", "estimated_vram_bytes"} <= set(entry):
            raise MatrixError("needs `model`, `model_id` and `estimated_vram_bytes`", where=where, hint=_HINT)
        known = _leave_out(entry, [one.name for one in fields(_Entry)], where, self.note)
        try:
            said: _Entry = decode(_Entry, known, where)
        except FormatError as error:
            raise MatrixError(error.what, where=error.where, hint=_HINT) from error
        overrides = _leave_out(said.overrides or {}, _OVERRIDES, f"{where}: overrides", self.note)
        options: dict[str, object] = {"model_id": said.model_id, **self._memory(said.estimated_vram_bytes, where)}
        options |= {"bundle_weight": True} if said.bundle_weight else {}
        if (opt := overrides.pop("opt", None)) is not None:
            options |= {"opt": _flags(opt, where)}
        numbers = {  # mlc_llm package hands them on as text, so that a number in quotes is one
            key: int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
            for key, value in overrides.items()
        }
        options |= {"overrides": numbers} if numbers else {}
        library = self.libraries.get(said.model_lib or "")
        named = said.model_lib is not None
        return Record(
            device=self.device,
            weights=self._weights(said.model, where),
            model_id=said.model_id,
            options=options,
            model_lib=_plain_model_lib(said.model_lib or "", where, prebuilt=library is not None) if named else None,
            prebuilt=None if library is None else _inside(self.place, library),
        )

    def _memory(self, said: object, where: str) -> dict[str, int]:
        whole = int(said) if isinstance(said, float) and said.is_integer() else said
        if isinstance(whole, bool) or not isinstance(whole, int):
            raise MatrixError("`estimated_vram_bytes` is not a number of bytes", where=where, hint=_HINT)
        if whole > 0:
            return {"estimated_vram_bytes": whole}
        self.note(f"{where}: `estimated_vram_bytes: {whole}` is left out: it is computed from the library")
        return {}

    def _weights(self, model: str, where: str) -> dict[str, object]:
        """Where the weights are; mlc_llm always takes the default branch."""
        if repository := _HUB.fullmatch(model):
            return {"hf": repository[1], "revision": "main"}
        shown = redact(model)
        if page := _PAGE.fullmatch(model):
            what = f"`{shown}` is an address that mlc_llm does not take"
            raise MatrixError(what, where=where, hint=f"write HF://{page[1]}")
        if "://" in model:
            hint = "put the weights on the hub, or download them and name the directory"
            raise MatrixError(f"`{shown}` is neither a repository of the hub nor a directory", where=where, hint=hint)
        if _WINDOWS.fullmatch(model):
            what = f"`{model}` is a path of Windows, which means nothing on other machines"
            raise MatrixError(what, where=where, hint="write a path relative to the config, with `/`")
        if not os.path.isdir(self.folder / model):  # noqa: PTH112 - pathlib raises for a name that is too long
            is_repository = re.fullmatch(r"[\w.-]+/[\w.-]+", model)
            hint = f"a repository of the hub is written HF://{model}" if is_repository else "correct the path"
            raise MatrixError(f"there is no directory `{model}`", where=where, hint=hint)
        return {"path": _inside(self.place, model)}


def _flags(opt: object, where: str) -> str:
    """Optimisation flags that mlc_llm knows."""
    try:
        opt_text(str(opt))
    except StepError as error:
        raise MatrixError(error.what, where=f"{where}: overrides", hint=error.hint) from error
    return str(opt)


def _plain_model_lib(name: str, where: str, *, prebuilt: bool) -> str:
    """A `model_lib`, which becomes part of the names of C symbols."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        return name
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    hint = f"write {plain if plain[:1].isalpha() else f'lib_{plain}'}" if plain else "remove it, or write a name"
    raise MatrixError(
        f"`model_lib: {name}` cannot be part of a C symbol: use letters, digits, `_` and `-`",
        where=where,
        hint=f"{hint}, and compile the library again under that name" if prebuilt else hint,
    )


def _inside(place: str, path: str) -> str:
    return os.path.normpath(path if os.path.isabs(path) else os.path.join(place, path))  # noqa: PTH117, PTH118 - text


def merge(records: Iterable[Record]) -> list[Model]:
    """The models of all configs; equal records of two devices are one variant.

    Raises:
        MatrixError: two records of one device that mlc_llm could not tell apart either.
    """
    models: dict[str, Model] = {}
    for record in _one_name_for_apple(list(records)):
        name, quantization = _named(record.model_id)
        model = _model(models, name, record)
        same = next((one for one in model.variants if _same(one, record)), None)
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
            same = Variant(candidate, record.options, record.model_lib)
            model.variants.append(same)
        if record.device not in same.devices:
            same.devices.append(record.device)
        if record.prebuilt is not None:
            model.prebuilt[record.device] = record.prebuilt
    return list(models.values())


def _one_name_for_apple(records: list[Record]) -> list[Record]:
    """One name in one app, which iPhone and Catalyst are: a `model_lib` that the list of one says is both's."""
    compiled = [one for one in records if one.device in APPLE and one.prebuilt is None]
    said = {_but_for_name(one): one.model_lib for one in compiled if one.model_lib is not None}
    return [
        replace(one, model_lib=said.get(_but_for_name(one))) if one.model_lib is None and one in compiled else one
        for one in records
    ]


def _but_for_name(record: Record) -> str:
    return json.dumps([record.weights, record.options], sort_keys=True)


def _model(models: dict[str, Model], name: str, record: Record) -> Model:
    """The model of that name and these weights, compiled or prebuilt as the record is."""
    for candidate in (name, f"{name}-{record.device}", f"{name}-{record.device}-prebuilt"):
        model = models.setdefault(candidate, Model(candidate, record.weights, {}))
        fits = not model.variants or bool(model.prebuilt) == (record.prebuilt is not None)
        alone = record.prebuilt is None or not model.variants or _same(model.variants[0], record)
        if model.weights == record.weights and fits and alone:
            return model
    raise MatrixError(
        f"`{record.model_id}` is there with different weights or libraries for {record.device}",
        hint="give one of them another model_id",
    )


def _same(variant: Variant, record: Record) -> bool:
    return (variant.options, variant.model_lib) == (record.options, record.model_lib)


def _named(model_id: str) -> tuple[str, str]:
    """Names of the model and its variant, from an app's name for both: `Qwen3-0.6B-q4f16_1-MLC`."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", model_id.removesuffix("-MLC")).lstrip("_.-") or "model"
    found = _QUANTIZATION.search(plain)
    model, variant = (plain[: found.start()], found[1]) if found else (plain, "default")
    return _allowed(model), _allowed(variant)


def _allowed(name: str) -> str:
    """The name as targets.yaml takes it: `con` would be a device on Windows."""
    allowed = name[:LONGEST_NAME].rstrip(".") or "model"
    return f"model-{allowed}"[:LONGEST_NAME].rstrip(".") if unportable(allowed) else allowed
