"""The names by which apps find `mlc` models: those that mlc_llm would give, so that apps keep the ones they have.

A name follows from the config of the weights (see `compilers.mlc_names`), and it is part of every symbol, so it must be
known before anything is planned. The session calls `named`: a name that slipway.lock pins is taken from there; else the
config, a small file, is fetched, and the name pinned. Variants that set `model_lib` never come here.

A name differs by the device of mlc's package config. What is shipped in one app must have one name, so all Apple
backends of a variant share that of `iphone` (of `macabi` where there is nothing but Catalyst), and all Android ones
that of `android`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.compilers import mlc_names
from pipeline.compilers.mlc_names import MlcOptions
from pipeline.documents import untrusted
from pipeline.documents.chat_config import NAME as CONFIG
from pipeline.documents.chat_config import NOT_CONVERTED, read_chat_config
from pipeline.errors import DownloadError, FormatError, MatrixError, SlipwayError, StepError
from pipeline.files import read_file, sha256_bytes
from pipeline.matrix.cells import Backend, Cell, ModelVariant, Product
from pipeline.matrix.matrix import Matrix, lacking, lacking_words, share
from pipeline.matrix.source import WeightsSource
from pipeline.platforms import APPLE
from pipeline.weights.cache import DownloadCache
from pipeline.weights.entry import Entry
from pipeline.weights.fetch import fetch

from .lockfile import Lock, NamePin, write_model_lib

_OPTIONS = ("model_type", "quantization", "opt", "overrides")
"""Options of a variant that its name depends on."""


@dataclass(frozen=True)
class Place:
    """Where names come from. What was found out goes into slipway.lock; `note` is told what is being done."""

    root: Path
    lock_path: Path
    lock: Lock
    note: Callable[[str], None]


def named(matrix: Matrix, place: Place) -> Matrix:
    """The matrix with the real prefix for every `mlc` variant that sets none.

    Raises:
        MatrixError: the weights have no such config, or two variants get the same name in one backend.
        DownloadError: the config could not be had.
    """
    waiting = {model.subject: model for model in matrix.models if model.unnamed}
    if not waiting:
        _check_shared(matrix, place.root)
        return matrix
    devices: dict[str, dict[str, str]] = {}
    for subject in waiting:
        backends = [cell.backend for cell in matrix.every_cell if cell.model.subject == subject]
        devices[subject] = {one.name: _device(one, backends) for one in backends}
    names = {subject: _names(model, sorted({*devices[subject].values()}), place) for subject, model in waiting.items()}
    every = tuple(_renamed(cell, names, devices) for cell in matrix.every_cell)
    cells, sharing = share(every)
    _check(cells, every, matrix.products)
    models = {cell.model.subject: cell.model for cell in every}
    ordered = tuple(models[model.subject] for model in matrix.models)
    made = replace(matrix, cells=cells, models=ordered, sharing=sharing)
    _check_shared(made, place.root)
    return made


def config_of(model: ModelVariant, root: Path) -> str | None:
    """The config of a variant whose weights are the user's own files: it decides a name, and must be watched."""
    if not model.unnamed or model.weights is None or model.weights.path is None:
        return None
    # Spelt as nobody else spells it: the file is an input of actions too, and this is another reason to look at it.
    return f"{root / model.weights.path}/./{model.weights.subdir or '.'}/{CONFIG}"


def _renamed(cell: Cell, names: Mapping[str, Mapping[str, str]], devices: Mapping[str, Mapping[str, str]]) -> Cell:
    known = names.get(cell.model.subject)
    if known is None:
        return cell
    device = devices[cell.model.subject][cell.backend.name]
    model = replace(cell.model, prefix=mlc_names.prefix(known[device]), unnamed=False, named_for=device)
    return replace(cell, model=model)


def _check_shared(matrix: Matrix, root: Path) -> None:
    """Look early at what the step `app_config` makes sure of: the weights of one library, where they are here."""
    for cell in matrix.sharing:
        models = (matrix.library_of(cell).model, cell.model)
        chats = {model.subject: _read_here(model, root) for model in models}
        found = {subject: chat for subject, chat in chats.items() if chat is not None}
        if len(found) == len(models):
            try:
                mlc_names.check_shared(found, MlcOptions.of(cell.model.options))
            except StepError as bad:
                raise MatrixError(bad.what, where=cell.model.where, hint=bad.hint) from bad


def _read_here(model: ModelVariant, root: Path) -> Mapping[str, object] | None:
    """The config of converted weights that are the user's own files; None where there is none to be read."""
    weights = model.weights
    if weights is None or weights.path is None or model.is_raw:
        return None
    try:
        return read_chat_config(root / weights.path / (weights.subdir or "."), model.model)
    except StepError:  # whoever needs it says so
        return None


def _check(cells: Iterable[Cell], every: Sequence[Cell], products: Iterable[Product]) -> None:
    owners: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first = owners.setdefault((cell.backend.name, cell.model.prefix), cell)
        if first.model.subject != cell.model.subject:
            raise MatrixError(
                f"{first.model.subject} and {cell.model.subject} are the same model with the same options: "
                f"mlc_llm calls both {cell.model.prefix.removesuffix('_')}",
                where=cell.model.where,
                hint="remove one of them, or give one a `model_lib` of its own",
            )
    for product in products:
        for backend, subjects in lacking(product.backends, every).items() if product.kind == "xcframework" else ():
            what, hint = lacking_words(backend, subjects)
            raise MatrixError(f"product {product.name}: {what}", where=product.where, hint=hint)


def _device(backend: Backend, all_of_model: Iterable[Backend]) -> str:
    """The device whose name a backend's library has."""
    platforms = {other.platform for other in all_of_model}
    if backend.platform == "android":
        return "android"
    if apple := platforms & APPLE.keys():  # what is neither Apple's nor Android's takes the name there is
        return "macabi" if apple == {"maccatalyst"} else "iphone"
    return "android" if "android" in platforms else backend.device_kind


def _names(model: ModelVariant, devices: Iterable[str], place: Place) -> Mapping[str, str]:
    options = {name: model.options[name] for name in _OPTIONS if name in model.options}
    weights = model.weights
    if weights is None or weights.kind == "path":
        path = config_of(model, place.root)
        try:
            text = b"" if path is None else read_file(path, untrusted.LARGEST_BYTES)
        except OSError as error:
            raise _not_converted(model) from error
        return {device: _name(model, text, device) for device in devices}
    pinned = place.lock.entry_for(model.model, weights)
    pin = place.lock.model_libs.get(model.subject)
    if pin is not None and pin.options == options and set(devices) <= pin.names.keys():
        known = pinned.files.get(CONFIG) if pinned is not None else None
        if known is None or known.sha256 == pin.config:
            return pin.names
    text = _fetched_config(model, weights, pinned, place)
    names = {device: _name(model, text, device) for device in devices}
    write_model_lib(place.lock_path, model.subject, NamePin(sha256_bytes(text), options, names))
    place.note(f"{model.subject}: its model_lib is {', '.join(sorted(set(names.values())))}")
    return names


def _name(model: ModelVariant, text: bytes, device: str) -> str:
    try:
        options = MlcOptions.of(model.options)
        chat = options.over(_parsed(text))
        return mlc_names.model_lib(
            mlc_names.effective_config(chat, options.overrides),
            model_type=str(chat["model_type"]),
            quantization=str(chat["quantization"]),
            device=device,
            overrides=options.overrides,
            opt=options.opt,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as bad:
        raise MatrixError(
            f"{CONFIG} of {model.model} is not what mlc_llm writes: {type(bad).__name__}: {bad}",
            where=model.where,
            hint="convert the weights again with mlc_llm gen_config, or give the variant a `model_lib`",
        ) from bad
    except SlipwayError as bad:
        raise MatrixError(bad.what, where=model.where, hint=bad.hint) from bad


def _parsed(text: bytes) -> dict[str, object]:
    try:
        return dict(untrusted.parse(text, CONFIG))
    except FormatError as bad:
        raise ValueError(bad.what) from bad


def _fetched_config(model: ModelVariant, weights: WeightsSource, pinned: Entry | None, place: Place) -> bytes:
    """Fetch just the config, of the commit that is pinned where one is."""
    locked = None
    if pinned is not None:
        if CONFIG not in pinned.files:
            raise _not_converted(model)
        locked = replace(pinned, files={CONFIG: pinned.files[CONFIG]})
    place.note(f"{model.subject}: reading {CONFIG}, from which the name of its library follows")
    with DownloadCache.default().scratch() as scratch:
        out = scratch / "out"
        out.mkdir()
        source = replace(weights, files=(CONFIG,))
        try:
            fetched = fetch(
                model.model, source, locked=locked, path=None, out=out, log=scratch / "log", progress=lambda *_: None
            )
        except DownloadError as bad:
            raise DownloadError(
                f"the name of {model.subject} follows from {CONFIG} of its weights, which cannot be had: {bad.what}",
                where=bad.where,
                hint=f"{bad.hint}; or say the name yourself: give the variant a `model_lib`",
            ) from bad
        return fetched.files[CONFIG].read_bytes()


def _not_converted(model: ModelVariant) -> MatrixError:
    return MatrixError(
        f"the weights of {model.model} are not in MLC's form: they have no {CONFIG}",
        where=model.where,
        hint=NOT_CONVERTED,
    )
