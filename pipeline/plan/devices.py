"""The part of the plan that is about devices: what each may get, and that it can hold what it must.

`plan` calls `device_actions`, which refuses what cannot be with what is known before anything is built; `doit devices`
asks for `offers`. As everywhere in the plan, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.documents.functions import Functions
from pipeline.documents.manifest import ManifestDevice, Takes
from pipeline.documents.memory import Memory, Need, Option, choose
from pipeline.documents.parameters import Parameters
from pipeline.errors import MatrixError
from pipeline.matrix.cells import Cell, Product
from pipeline.matrix.matrix import Device, Matrix, ModelFile, Wanted
from pipeline.steps import device as device_step
from pipeline.steps import memory as memory_step
from pipeline.weights.entry import Entry

from .lockfile import Pins
from .models import RUNTIMES, SHARDS, config_task


@dataclass(frozen=True)
class Way:
    """One way to have a model on a device: the value for steps, what is known of it before a build, and its cell."""

    option: Option
    early: Need
    cell: Cell | None = None


@dataclass(frozen=True)
class Offer:
    """A model that a device is to get, and the ways to have it: variants in their order, the best backend first."""

    wanted: Wanted
    ways: tuple[Way, ...]


def offers(matrix: Matrix, lock: Pins) -> Iterator[tuple[Device, list[Offer]]]:
    """What each device is to get: its own models, or where it names none, every model that there is for it."""
    cells: dict[str, dict[str, Way]] = {model.subject: {} for model in matrix.models}
    for cell in matrix.every_cell:
        cells[cell.model.subject][cell.backend.name] = _of_cell(cell, lock)
    files = {one.name: (_of_file(one, lock),) for one in matrix.files}
    variants: dict[str, list[str]] = {subject: [subject] for subject in cells}
    names: dict[str, None] = {}
    for model in matrix.models:
        variants.setdefault(model.model, []).append(model.subject)
        names[model.model] = None

    def ways(name: str, device: Device) -> tuple[Way, ...]:
        found = (cells[one].get(backend) for one in variants.get(name, ()) for backend in device.backends)
        return files.get(name) or tuple(way for way in found if way is not None)

    for device in matrix.devices:
        every = device.models if device.models is not None else [Wanted(name) for name in (*names, *files)]
        made = [Offer(one, ways(one.name, device)) for one in every]
        yield device, [offer for offer in made if offer.ways or device.models is not None]


def _of_cell(cell: Cell, lock: Pins) -> Way:
    model = cell.model
    declared = model.app.estimated_vram_bytes
    as_it_is = model.compiler != "relax" and not model.is_raw
    early = _before_built(declared, _pinned(lock.get(model.model), SHARDS[0]) if as_it_is else 0)
    return Way(Option(cell.subject, model.subject, cell.backend.name, declared), early, cell)


def _of_file(file: ModelFile, lock: Pins) -> Way:
    """llama.cpp has all of a file in memory; LiteRT may leave parts of one on the disk (embeddings of Gemma 3n)."""
    size = _pinned(lock.get(file.name), "*") if file.kind == "gguf" else 0
    early = _before_built(file.estimated_vram_bytes, size)
    return Way(Option(file.name, file.name, RUNTIMES[file.kind], file.estimated_vram_bytes), early)


def _pinned(entry: Entry | None, pattern: str) -> int:
    """Bytes of the files that slipway.lock pins of a model."""
    files = entry.files.items() if entry is not None else ()
    return sum(file.size for name, file in files if fnmatch(name, pattern))


def _before_built(declared: int | None, pinned: int) -> Need:
    if declared is not None:
        return Need(declared, "declared", at_least=False)
    return Need(pinned, "weights" if pinned else "nothing", at_least=True)


def device_actions(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """What each cell that a device may get takes, and for each device with models of its own that it holds them.

    Raises:
        MatrixError: one cannot, by what targets.yaml and slipway.lock say.
    """
    measured: set[str] = set()
    owners = {one.subject: matrix.library_of(one) for one in matrix.sharing}
    for device, found in offers(matrix, lock):
        for way in (way for offer in found for way in offer.ways):
            if way.cell is not None and way.option.declared is None and way.cell.subject not in measured:
                measured.add(way.cell.subject)
                yield _memory(matrix, way.cell, owners.get(way.cell.subject, way.cell))
        if device.models is not None:
            _check(device, found)
            yield _device(device, found)


def device_edges(matrix: Matrix, product: Product) -> dict[str, Upstream]:
    """What a product waits for: every device with models of its own that the product has a library for."""
    return {
        roles.of(roles.DEVICE, one.name): Upstream(f"device:{one.name}")
        for one in matrix.devices
        if one.models is not None and set(one.backends) & set(product.backends)
    }


def shipped_devices(
    matrix: Matrix, lock: Pins, actions: Iterable[AnyAction]
) -> tuple[tuple[ManifestDevice, ...], dict[str, tuple[Option, ...]]]:
    """What the list of all that is shipped says of devices, for whoever brings it there.

    What a cell takes is known where one of the actions computes it.

    Returns:
        The devices, each with every model whose size is known before a build; and device -> the cells of which it is
        known afterwards.
    """
    computed = {action.subject for action in actions if action.step == "memory"}
    devices, measured = [], {}
    for device, found in offers(
        replace(matrix, devices=tuple(replace(one, models=None) for one in matrix.devices)), lock
    ):
        ways = [way for offer in found for way in offer.ways]
        known = [way for way in ways if way.option.cell not in computed or way.option.declared is not None]
        takes = tuple(
            Takes(way.option.model, way.option.backend, way.early.bytes, way.early.at_least)
            for way in known
            if way.early.source != "nothing"
        )
        names = (device.name, device.os, device.ram, device.usable, device.backends, device.adb_model)
        devices.append(ManifestDevice(*names, takes))
        measured[device.name] = tuple(way.option for way in ways if way not in known)
    return tuple(devices), {name: options for name, options in measured.items() if options}


def _check(device: Device, found: list[Offer]) -> None:
    for offer in found:
        choice = choose(((way.option, way.early) for way in offer.ways), device.usable)
        if choice is None or choice.fits:
            continue
        if choice.fits is False:
            error = device_step.too_large(device.name, choice, device.ram, device.usable)
        elif all(way.cell is None for way in offer.ways):  # no build will tell
            error = device_step.not_known(device.name, offer.wanted.name, "nothing says all that it takes")
        else:
            continue
        raise MatrixError(error.what, where=offer.wanted.where, hint=error.hint)


def _memory(matrix: Matrix, cell: Cell, owner: Cell) -> AnyAction:
    """What a cell takes; `owner` is the one that compiles its library."""
    model = cell.model
    relax = model.compiler == "relax"
    objects = ("*.o",) if model.compiler == "prebuilt" else (f"{owner.model.prefix}devc.o",)
    upstream = {
        roles.OBJECTS: Upstream(f"compile:{owner.subject}", only=(*objects, *((Functions.NAME,) if relax else ())))
    }
    if relax:
        upstream[roles.PARAMS] = Upstream(f"params:{model.subject}", only=(Parameters.NAME,))
    elif model.weights is not None:
        upstream[roles.CONFIG] = Upstream(config_task(matrix, model), only=(CHAT_CONFIG,))
    return Action(
        step="memory",
        run=memory_step.run,
        subject=cell.subject,
        params=memory_step.Params(model.subject, model.model, relax),
        upstream=upstream,
        outputs=(Memory.NAME,),
        doc=f"what {model.subject} takes of a device's memory on {cell.backend.name}",
        where=model.where,
    )


def _device(device: Device, found: list[Offer]) -> AnyAction:
    options = [way.option for offer in found for way in offer.ways if way.option.declared is None]
    return Action(
        step="device",
        run=device_step.run,
        subject=device.name,
        params=device_step.Params(
            device.name,
            device.ram,
            device.usable,
            {offer.wanted.name: tuple(way.option for way in offer.ways) for offer in found},
        ),
        upstream={roles.of(roles.MEMORY, one.cell): Upstream(f"memory:{one.cell}") for one in options},
        outputs=(device_step.NAME,),
        doc=f"that {device.name} can hold the models it is to get",
        where=device.where,
    )
