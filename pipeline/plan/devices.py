"""The part of the plan that is about devices: what each may get, and that it can hold what it must.

`plan` calls `device_actions`, which refuses what cannot be with what is known before anything is built; `doit devices`
asks for `offers`. As everywhere in the plan, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from pipeline import roles
from pipeline.action import Action, AnyAction, Json, Upstream
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.documents.functions import NAME as FUNCTIONS
from pipeline.documents.memory import NAME as MEMORY
from pipeline.documents.memory import Need, Option, choose
from pipeline.documents.parameters import NAME as PARAMETERS
from pipeline.errors import MatrixError
from pipeline.matrix.cells import Cell, ModelVariant, Product
from pipeline.matrix.device import Device, Wanted
from pipeline.matrix.devices import is_of
from pipeline.matrix.matrix import Matrix
from pipeline.steps import device as device_step
from pipeline.steps import memory as memory_step

from .models import SHARDS, conversion


@dataclass(frozen=True)
class Offer:
    """A model that a device is to get, and its cells for it: variants in their order, the best backend first."""

    wanted: Wanted
    cells: tuple[Cell, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """The cells as values for steps."""
        return tuple(
            Option(one.subject, one.model.subject, one.backend.name, one.model.app.estimated_vram_bytes)
            for one in self.cells
        )


def offers(matrix: Matrix, device: Device) -> list[Offer]:
    """What a device is to get: its own models, or where it names none, every model that has a cell for it."""
    every = [one for one in (*matrix.cells, *matrix.sharing) if one.backend.name in device.backends]
    order = {model.subject: number for number, model in enumerate(matrix.models)}
    every.sort(key=lambda cell: (order[cell.model.subject], device.backends.index(cell.backend.name)))
    named = device.models if device.models is not None else [Wanted(one) for one in _names(every)]
    return [Offer(one, tuple(cell for cell in every if is_of(cell, one.name))) for one in named]


def _names(cells: list[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.model.model for cell in cells))


def before_built(model: ModelVariant, lock: Mapping[str, Json]) -> Need:
    """What is known of the memory that a variant takes before anything of it is built.

    Args:
        model: the variant.
        lock: model name -> entry of slipway.lock.
    """
    if model.app.estimated_vram_bytes is not None:
        return Need(model.app.estimated_vram_bytes, "declared", at_least=False)
    pinned = (lock.get(model.model) or {}).get("files", {})
    size = sum(one["size"] for name, one in pinned.items() if fnmatch(name, SHARDS[0]))
    shipped_as_it_is = model.compiler != "relax" and not model.is_raw and size > 0
    return Need(size, "weights", at_least=True) if shipped_as_it_is else Need(0, "nothing", at_least=True)


def device_actions(matrix: Matrix, lock: Mapping[str, Json]) -> Iterator[AnyAction]:
    """What each cell that a device may get takes, and for each device with models of its own that it holds them.

    Raises:
        MatrixError: one cannot, by what targets.yaml and slipway.lock say.
    """
    measured: set[str] = set()
    for device in matrix.devices:
        found = offers(matrix, device)
        for cell in (cell for offer in found for cell in offer.cells):
            if cell.model.app.estimated_vram_bytes is None and cell.subject not in measured:
                measured.add(cell.subject)
                yield _memory(matrix, cell)
        if device.models is not None:
            _check(device, found, lock)
            yield _device(device, found)


def device_edges(matrix: Matrix, product: Product) -> dict[str, Upstream]:
    """What a product waits for: every device with models of its own that the product has a library for."""
    return {
        roles.of(roles.DEVICE, one.name): Upstream(f"device:{one.name}")
        for one in matrix.devices
        if one.models is not None and set(one.backends) & set(product.backends)
    }


def _check(device: Device, found: list[Offer], lock: Mapping[str, Json]) -> None:
    for offer in found:
        known = zip(offer.options, (before_built(cell.model, lock) for cell in offer.cells), strict=True)
        choice = choose(known, device.usable)
        if choice is not None and choice.fits is False:
            error = device_step.too_large(device.name, choice, device.ram, device.usable)
            raise MatrixError(error.what, where=offer.wanted.where, hint=error.hint)


def _memory(matrix: Matrix, cell: Cell) -> AnyAction:
    model, owner = cell.model, matrix.library_of(cell)
    relax = model.compiler == "relax"
    objects = ("*.o",) if model.compiler == "prebuilt" else (f"{owner.model.prefix}devc.o",)
    upstream = {roles.OBJECTS: Upstream(f"compile:{owner.subject}", only=(*objects, *((FUNCTIONS,) if relax else ())))}
    if relax:
        upstream[roles.PARAMS] = Upstream(f"params:{model.subject}", only=(PARAMETERS,))
    elif model.weights is not None:
        config = conversion(matrix, model, "gen_config") if model.is_raw else f"weights:{model.model}"
        upstream[roles.CONFIG] = Upstream(config, only=(CHAT_CONFIG,))
    return Action(
        step="memory",
        run=memory_step.run,
        subject=cell.subject,
        out=f"build/memory/{cell.subject}",
        params=memory_step.Params(model.subject, model.model, relax),
        upstream=upstream,
        outputs=(MEMORY,),
        doc=f"what {model.subject} takes of a device's memory on {cell.backend.name}",
        where=model.where,
    )


def _device(device: Device, found: list[Offer]) -> AnyAction:
    options = [option for offer in found for option in offer.options if option.declared is None]
    return Action(
        step="device",
        run=device_step.run,
        subject=device.name,
        out=f"build/device/{device.name}",
        params=device_step.Params(
            device.name,
            device.ram,
            device.usable,
            tuple(device_step.Pair(offer.wanted.name, offer.options) for offer in found),
        ),
        upstream={roles.of(roles.MEMORY, one.cell): Upstream(f"memory:{one.cell}") for one in options},
        outputs=(device_step.NAME,),
        doc=f"that {device.name} can hold the models it is to get",
        where=device.where,
    )
