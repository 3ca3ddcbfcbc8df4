"""The devices of targets.yaml, checked against the backends and models of the matrix; `expand` calls `resolve`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from . import model_schema, schema
from .cells import Backend, Cell
from .diagnostics import Diagnostics, suggest
from .matrix import Device, Wanted

USABLE = 0.5
"""Share of its memory that an app can use on a device that says nothing else.

iOS ends an app at about half (measured by others: 2.1 of 4 GB, 3.1 of 6 GB) unless it has the entitlement
`increased-memory-limit`; Android has no such limit, and ends what is in the background, then what is large.
"""

_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9.]+) ?(\w+)")

_RUNS_ON: Mapping[str, frozenset[str]] = {"macos": frozenset({"macos", "maccatalyst"})}
"""System -> the platforms it runs, where that is more than its own."""


def resolve(
    targets: schema.Targets, cells: Sequence[Cell], models: Iterable[str], files: Iterable[str], problems: Diagnostics
) -> tuple[Device, ...]:
    """Return the devices, after reporting what is wrong with them.

    `cells` is everything in the matrix, shared libraries too; `models` are names of models and of variants, `files` of
    models that are not compiled.
    """
    used = {cell.backend.name: cell.backend for cell in cells}
    known, uncompiled = {*models, *files}, set(files)
    made = []
    for name, spec in targets.devices.items():
        backends = _backends(name, spec, used, problems)
        own = [cell for cell in cells if cell.backend.name in backends]
        there = {*uncompiled, *(cell.model.model for cell in own), *(cell.model.subject for cell in own)}
        _check_models(name, spec, there, known, problems)
        made.append(_device(name, spec, backends, problems))
    return tuple(made)


def memory_bytes(text: str) -> int:
    """The bytes of a `fields.MemorySize`."""
    number, unit = _SIZE.fullmatch(text).groups()  # type: ignore[union-attr]
    return round(float(number) * _UNITS[unit])


def unfit(spec: model_schema.Device | Device, backend: Backend) -> str | None:
    """Why a backend is not for a device at all; None where it may be."""
    platforms = _RUNS_ON.get(spec.os, frozenset({spec.os}))
    if backend.format != "wasm" and backend.platform not in platforms:
        return f"it is for {backend.platform}, and the device runs {spec.os}"
    made_for = backend.device.get("device", "apple" if backend.device_kind == "metal" else None)
    if made_for in {"adreno", "mali", "apple"} and made_for != spec.gpu:
        return f"it is made for GPUs of the family {made_for}, and the device's is {spec.gpu}"
    if backend.device_kind != "llvm" and spec.gpu == "none":
        return "it needs a GPU, and the device has none"
    return None


def _check_models(
    name: str, spec: model_schema.Device, there: set[str], known: set[str], problems: Diagnostics
) -> None:
    for i, model in enumerate(spec.models or ()):
        place = ("devices", name, "models", i)
        if model not in known:
            problems.add(place, f"unknown model `{model}`", suggest(model, known, "models"))
        elif model not in there:
            what = f"no cell of the matrix compiles `{model}` for a backend of {name}"
            problems.add(place, what, "add the combination to the matrix, or remove it here")


def _device(name: str, spec: model_schema.Device, backends: Sequence[str], problems: Diagnostics) -> Device:
    here, ram = ("devices", name), memory_bytes(spec.ram)
    usable = round(ram * (spec.usable or USABLE)) if spec.reserved is None else ram - memory_bytes(spec.reserved)
    if usable <= 0:
        problems.add(here, f"nothing is left of {spec.ram} for a model", "correct `ram`, or reserve less", key=True)
    wanted = [Wanted(model, problems.document.at((*here, "models", i))) for i, model in enumerate(spec.models or ())]
    return Device(
        name=name,
        gpu=spec.gpu,
        os=spec.os,
        ram=ram,
        usable=usable,
        backends=tuple(backends),
        models=tuple(wanted) if spec.models is not None else None,
        where=problems.document.at(here, key=True),
        adb_model=spec.adb_model or (),
    )


def _backends(name: str, spec: model_schema.Device, used: Mapping[str, Backend], problems: Diagnostics) -> list[str]:
    if spec.backends is None:
        found = [backend.name for backend in used.values() if unfit(spec, backend) is None]
        if used and not found:
            what = f"no backend of the matrix is for {spec.os} and a GPU of the family {spec.gpu}"
            problems.add(("devices", name), what, "add such a backend to the matrix, or remove the device", key=True)
        return found
    named = []
    for i, backend in enumerate(spec.backends):
        place = ("devices", name, "backends", i)
        if backend not in used:
            problems.add(
                place, f"no cell is compiled for backend `{backend}`", suggest(backend, used, "backends of cells")
            )
        elif why := unfit(spec, used[backend]):
            problems.add(place, f"`{backend}` cannot run on {name}: {why}", "remove it, or correct the device")
        else:
            named.append(backend)
    return named
