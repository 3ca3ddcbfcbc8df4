"""Whether the slices of an xcframework hold the same models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .cells import Cell


def lacking(backends: Iterable[str], cells: Sequence[Cell]) -> dict[str, list[str]]:
    """For each of the backends that lacks models of the others, their subjects.

    An app is one source for device, simulator and Mac: a model that it refers to must be in every slice.
    """
    models = {
        name: {cell.model.prefix: cell.model.subject for cell in cells if cell.backend.name == name}
        for name in backends
    }
    every = {prefix: subject for of_backend in models.values() for prefix, subject in of_backend.items()}
    lacks = {
        name: [subject for prefix, subject in every.items() if prefix not in held] for name, held in models.items()
    }
    return {name: subjects for name, subjects in lacks.items() if subjects}


def lacking_words(backend: str, subjects: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a slice that lacks these, and what to do."""
    what = f"`{backend}` lacks {', '.join(subjects)}, which other slices have"
    return what, f"build {subjects[0]} for {backend} too, exclude it everywhere, or make two products"
