"""The `matrix` block as cells: names looked up, model names replaced by their variants, then combined."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Literal

from . import schema
from .cells import Backend, Cell, ModelVariant, cell_subject
from .diagnostics import Diagnostics, suggest

Values = Mapping[str, str]

NEEDED = ("model", "backend")
AXES = (*NEEDED, "toolchain")

MOST = 50_000
"""Combinations that are expanded: ten times what anybody has built."""

_MOST_COMPARED = 5_000_000
"""Comparisons of a combination with an include or exclude; so many take a second."""


@dataclass(frozen=True)
class Combination:
    """One combination, and the index of the include that created it (None: it is from the product of the axes)."""

    values: Values
    include: int | None = None


def combine(
    axes: Mapping[str, Sequence[str]], include: Sequence[Values], exclude: Sequence[Values]
) -> list[Combination]:
    """Expand a matrix: axes (none: no product), additions, and exclusions, whose keys must be axes.

    1. The product of the axes, the first varying slowest.
    2. Less every combination that has all the values of some exclude.
    3. Each include, in order: its values are added to every combination of 1-2 whose own values it would not change.
       Values added by an earlier include may be replaced, those of the axes never.
    4. An include that could be added to none becomes a combination of its own, to which no other include is added.
    """
    names = tuple(axes)
    originals = [dict(zip(names, values, strict=True)) for values in product(*axes.values())] if axes else []
    kept = [one for one in originals if not any(part.items() <= one.items() for part in exclude)]
    grown = [dict(one) for one in kept]
    created = []
    for index, addition in enumerate(include):
        fixed = {axis: value for axis, value in addition.items() if axis in axes}
        matching = [i for i, one in enumerate(kept) if fixed.items() <= one.items()]
        for i in matching:
            grown[i].update(addition)
        if not matching:
            created.append(Combination(addition, index))
    return [*(Combination(values) for values in grown), *created]


@dataclass(frozen=True)
class Names:
    """What the names in a matrix can mean.

    Attributes:
        models: model -> its variants.
        backends: backend -> what it is; None where it is known and wrong (and reported).
        files: models that are not compiled.
    """

    models: Mapping[str, Sequence[ModelVariant]]
    backends: Mapping[str, Backend | None]
    toolchains: Sequence[str]
    files: Collection[str] = ()

    @cached_property
    def known(self) -> Mapping[str, frozenset[str]]:
        """Axis -> every value it may have."""
        subjects = (one.subject for variants in self.models.values() for one in variants)
        return {
            "model": frozenset((*self.models, *subjects)),
            "backend": frozenset(self.backends),
            "toolchain": frozenset(self.toolchains),
        }


def refuse_too_many(targets: schema.Targets, problems: Diagnostics) -> None:
    """Count what the matrix block asks for before anything is expanded.

    Raises:
        MatrixError: it is more than anybody could build.
    """

    def size(model: str | None) -> int:
        return len(targets.models[model].variants) if model in targets.models else 1

    block = targets.matrix
    sizes = [sum(map(size, block.model or ())), len(block.backend or ()), len(block.toolchain or ())]
    combinations = prod(one for one in sizes if one)
    changes = sum(size(one.model) for one in block.include) + sum(size(one.model) for one in block.exclude)
    if combinations > MOST:
        what = f"{combinations:,} combinations are more than the {MOST:,} that are expanded"
        problems.add(("matrix",), what, "split it into several files: doit targets=PATH", key=True)
    elif combinations * changes > _MOST_COMPARED:
        what = f"{changes:,} includes and excludes of {combinations:,} combinations are too many"
        problems.add(("matrix",), what, "write fewer that each say more", key=True)
    else:
        return
    problems.raise_if_any()


def cells(block: schema.MatrixAxes, names: Names, problems: Diagnostics) -> list[Cell]:
    """Expand the matrix block; a cell that has a problem is left out."""
    clean = not problems
    axes = {axis: list(_axis(axis, block, names, problems)) for axis in AXES if getattr(block, axis) is not None}
    exclude = [one for _, one in _entries("exclude", block, names, problems)]
    include = list(_entries("include", block, names, problems))
    found = combine(axes, [values for _, values in include], exclude)
    if not found and names.models and clean and not problems:
        hint = "name a model and a backend in its axes, or exclude less"
        problems.add(("matrix",), "the matrix is empty: nothing would be built", hint, key=True)
    return list(_cells(found, [written for written, _ in include], names, problems))


def _axis(axis: str, block: schema.MatrixAxes, names: Names, problems: Diagnostics) -> Iterator[str]:
    seen = set()
    for i, name in enumerate(getattr(block, axis)):
        for value in _meant(axis, name, ("matrix", axis, i), names, problems):
            if value in seen:
                problems.add(("matrix", axis, i), f"`{value}` is named twice", "name it once")
            else:
                seen.add(value)
                yield value


def _entries(
    kind: Literal["include", "exclude"], block: schema.MatrixAxes, names: Names, problems: Diagnostics
) -> Iterator[tuple[int, Values]]:
    """The entries of include or exclude with the index they are written at: one for each variant a model stands for."""
    entries: Sequence[schema.Include] = getattr(block, kind)
    for i, entry in enumerate(entries):
        here = ("matrix", kind, i)
        given = {axis: name for axis in AXES if (name := getattr(entry, axis)) is not None}
        if not given:
            problems.add(here, f"this {kind} says nothing", f"give it one of {', '.join(AXES)}, or remove it")
            continue
        foreign = [axis for axis in given if kind == "exclude" and getattr(block, axis) is None]
        for axis in foreign:
            hint = f"add `{axis}:` to the matrix, or remove this key"
            problems.add((*here, axis), f"`{axis}` is not an axis of this matrix", hint, key=True)
        if not foreign:
            choices = [_meant(axis, name, (*here, axis), names, problems) for axis, name in given.items()]
            for values in product(*choices):
                yield i, dict(zip(given, values, strict=True))


def _meant(axis: str, name: str, place: tuple[str | int, ...], names: Names, problems: Diagnostics) -> list[str]:
    """What a name stands for: a model for all its variants, anything else for itself, what is not known for nothing."""
    known = names.known[axis]
    if axis == "model" and name in names.files:
        problems.add(place, f"`{name}` is a file for another runtime, which is not compiled", "remove it here")
        return []
    if name not in known:
        problems.add(place, f"unknown {axis} `{name}`", suggest(name, known, f"{axis}s"))
        return []
    if axis == "model" and name in names.models:
        return [one.subject for one in names.models[name]]
    return [name]


def _cells(found: Iterable[Combination], written: Sequence[int], names: Names, problems: Diagnostics) -> Iterator[Cell]:
    models = {one.subject: one for variants in names.models.values() for one in variants}
    seen = set()
    for one in found:
        place = ("matrix",) if one.include is None else ("matrix", "include", written[one.include])
        missing = [axis for axis in NEEDED if axis not in one.values]
        if missing:
            said = ", ".join(f"{axis}: {value}" for axis, value in one.values.items())
            hint = f"add `{missing[0]}:` here, or let this include match what the axes have"
            problems.add(place, f"the combination {{{said}}} has no {missing[0]}", hint, key=one.include is None)
            if one.include is None:
                return
            continue
        subject, name = (one.values[axis] for axis in NEEDED)
        model, backend = models[subject], names.backends[name]
        toolchain = one.values.get("toolchain", model.toolchain)
        subject = cell_subject(model.subject, name, toolchain)
        if subject in seen:
            problems.add(place, f"{subject} is in the matrix already", "remove this include")
        elif backend is not None:
            seen.add(subject)
            yield Cell(model, backend, toolchain)
