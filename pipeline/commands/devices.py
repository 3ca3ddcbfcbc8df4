"""`doit devices`: which variant of which model each device gets, on which backend, and how much memory is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pipeline.documents.memory import Choice, Memory, Need, choose, gigabytes, of_built
from pipeline.doit_plugin.session import Session
from pipeline.errors import MatrixError
from pipeline.matrix.matrix import Device
from pipeline.plan.devices import Way, offers
from pipeline.reports.tables import lines
from pipeline.steps.device import SOURCES

from .base import JsonOptions, ProjectCommand

_HEADING = ("device", "for a model", "model", "backend", "takes", "margin")


Row = tuple[str, Choice | None]
"""A model that a device is to get, by the name that asks for it; None where there is no way to have it."""


class Devices(ProjectCommand[JsonOptions]):
    """show which model and backend each device gets, and the memory left (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "devices"
    doc_description = (
        "Of each model a device gets the first variant that fits, on its best backend. Sizes are those that "
        "targets.yaml declares, or that were built here; nothing is built. Exit status: 0; 1 when a device gets no "
        "model at all; 3 when the matrix is wrong, or there are no devices in it."
    )

    def answer(self, session: Session, options: JsonOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        matrix = session.project.matrix
        if not matrix.devices:
            hint = "add `devices:`, for example {pixel: {gpu: mali, ram: 8GB, os: android}}"
            raise MatrixError("there are no devices", where=matrix.path, hint=hint)
        offered = offers(matrix, session.project.pins())
        found: dict[Device, list[Row]] = {}
        for device, made in offered:
            needs = ((one.wanted.name, ((way.option, _need(session, way)) for way in one.ways)) for one in made)
            found[device] = [(name, choose(ways, device.usable)) for name, ways in needs]
        document = {"devices": [_document(*one) for one in found.items()]}
        table = [_HEADING, *(row for device, rows in found.items() for row in _text(device, rows))]
        self.show(document, lines(table, right={1}, width=self.width), as_json=options.json)
        return 0 if all(map(_gets_one, found.values())) else 1


def _need(session: Session, way: Way) -> Need:
    """What a way takes: as declared, or as built where that is up to date."""
    name = f"memory:{way.option.cell}"
    if way.cell is None or way.option.declared is not None or not session.engine.status(name).fresh:
        return way.early
    return of_built(Memory.read(session.project.root / session.engine.actions[name].out))


def _gets_one(rows: Sequence[Row]) -> bool:
    """Whether a device gets a model, or may."""
    return any(choice is not None and choice.fits is not False for _, choice in rows)


def _text(device: Device, rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    usable = gigabytes(device.usable)
    if not rows:
        yield device.name, usable, "–", "–", "", "no model of the matrix is for it"
    for name, choice in rows:
        if choice is None:
            yield device.name, usable, name, "–", "", "no cell is for it"
            continue
        option, need = choice.option, choice.need
        takes = f"{'at least ' * need.at_least}{gigabytes(need.bytes)}" if need.source != "nothing" else ""
        yield device.name, usable, option.model, option.backend, takes, _margin(device, choice)


def _margin(device: Device, choice: Choice) -> str:
    need, left = choice.need, device.usable - choice.need.bytes
    if choice.fits is False:
        return f"does not fit: {gigabytes(-left)} too much"
    if choice.fits:
        return gigabytes(left)
    if need.source == "built":
        return f"at most {gigabytes(left)}: some sizes are known only at a call; declare `estimated_vram_bytes`"
    if choice.option.cell == choice.option.model:
        return "not known: declare `estimated_vram_bytes` of the model"
    return f"not built yet (doit memory:{choice.option.cell})"


def _document(device: Device, rows: Sequence[Row]) -> dict[str, object]:
    return {
        "name": device.name, "gpu": device.gpu, "os": device.os, "ram": device.ram, "usable": device.usable,
        "backends": device.backends, "gets_one": _gets_one(rows), "models": [_model(device, *row) for row in rows],
    }  # fmt: skip


def _model(device: Device, name: str, choice: Choice | None) -> dict[str, object]:
    if choice is None:
        return {"name": name, "fits": False, "variant": None, "backend": None}
    return {
        "name": name, "variant": choice.option.model, "backend": choice.option.backend, "fits": choice.fits,
        "margin": device.usable - choice.need.bytes, "takes": asdict(choice.need), "says": SOURCES[choice.need.source],
    }  # fmt: skip
