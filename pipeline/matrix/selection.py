"""The `matrix` block as cells: names looked up, model names replaced by their variants, the arithmetic done.

`expand` calls `cells`. `combine` does the arithmetic and knows no names; this module knows names and does no
arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from . import schema
from .cells import Backend, Cell, ModelVariant, cell_subject
from .combine import Combination, Values, combine
from .problems import Report, suggest

AXES = ("model", "backend", "toolchain")


@dataclass(frozen=True)
class Names:
    """What the names in a matrix can mean.

    Attributes:
        models: model -> its variants.
        backends: backend -> what it is; None where it is known and wrong (and reported).
        toolchains: names of toolchains.
    """

    models: Mapping[str, Sequence[ModelVariant]]
    backends: Mapping[str, Backend | None]
    toolchains: Sequence[str]

    def known(self, axis: str) -> list[str]:
        """Every value an axis may have."""
        if axis == "model":
            return [*self.models, *(one.subject for variants in self.models.values() for one in variants)]
        return list(self.backends if axis == "backend" else self.toolchains)

    def meant(self, axis: str, name: str) -> list[str]:
        """What a known name stands for: a model for all its variants, anything else for itself."""
        if axis == "model" and name in self.models:
            return [one.subject for one in self.models[name]]
        return [name]


def cells(block: schema.MatrixAxes, names: Names, report: Report) -> list[Cell]:
    """Expand the matrix block.

    Args:
        block: the axes, includes and excludes as written.
        names: what names mean.
        report: gets the problems; a cell that has one is left out.
    """
    clean = not report
    axes = {axis: list(_axis(axis, block, names, report)) for axis in AXES if getattr(block, axis) is not None}
    exclude = [one for _, one in _entries("exclude", block, names, report)]
    include = list(_entries("include", block, names, report))
    found = combine(axes, [values for _, values in include], exclude)
    if not found and clean and not report:
        hint = "name a model and a backend in its axes, or exclude less"
        report.add(("matrix",), "the matrix is empty: nothing would be built", hint, key=True)
    return list(_cells(found, [written for written, _ in include], names, report))


def _axis(axis: str, block: schema.MatrixAxes, names: Names, report: Report) -> Iterator[str]:
    seen = set()
    for i, name in enumerate(getattr(block, axis)):
        for value in _meant(axis, name, ("matrix", axis, i), names, report):
            if value in seen:
                report.add(("matrix", axis, i), f"`{value}` is named twice", "name it once")
            else:
                seen.add(value)
                yield value


def _entries(
    kind: Literal["include", "exclude"], block: schema.MatrixAxes, names: Names, report: Report
) -> Iterator[tuple[int, Values]]:
    """The entries of include or exclude with the index they are written at: one for each variant a model stands for."""
    entries: Sequence[schema.Include | schema.Exclude] = getattr(block, kind)
    for i, entry in enumerate(entries):
        here = ("matrix", kind, i)
        given = {axis: name for axis in AXES if (name := getattr(entry, axis)) is not None}
        if not given:
            report.add(here, f"this {kind} says nothing", f"give it one of {', '.join(AXES)}, or remove it")
            continue
        foreign = [axis for axis in given if kind == "exclude" and getattr(block, axis) is None]
        for axis in foreign:
            hint = f"add `{axis}:` to the matrix, or remove this key"
            report.add((*here, axis), f"`{axis}` is not an axis of this matrix", hint, key=True)
        if not foreign:
            choices = [_meant(axis, name, (*here, axis), names, report) for axis, name in given.items()]
            for values in product(*choices):
                yield i, dict(zip(given, values, strict=True))


def _meant(axis: str, name: str, place: tuple[str | int, ...], names: Names, report: Report) -> list[str]:
    known = names.known(axis)
    if name not in known:
        report.add(place, f"unknown {axis} `{name}`", suggest(name, known, f"{axis}s"))
        return []
    return names.meant(axis, name)


def _cells(found: Iterable[Combination], written: Sequence[int], names: Names, report: Report) -> Iterator[Cell]:
    models = {one.subject: one for variants in names.models.values() for one in variants}
    seen = set()
    for one in found:
        place = ("matrix",) if one.include is None else ("matrix", "include", written[one.include])
        missing = [axis for axis in ("model", "backend") if axis not in one.values]
        if missing:
            said = ", ".join(f"{axis}: {value}" for axis, value in one.values.items())
            hint = f"add `{missing[0]}:` here, or let this include match what the axes have"
            report.add(place, f"the combination {{{said}}} has no {missing[0]}", hint, key=one.include is None)
            if one.include is None:
                return
            continue
        model, backend = models[one.values["model"]], names.backends[one.values["backend"]]
        toolchain = one.values.get("toolchain", model.toolchain)
        subject = cell_subject(model.subject, one.values["backend"], toolchain)
        if subject in seen:
            report.add(place, f"{subject} is in the matrix already", "remove this include")
        elif backend is not None:
            seen.add(subject)
            yield Cell(model, backend, toolchain)
