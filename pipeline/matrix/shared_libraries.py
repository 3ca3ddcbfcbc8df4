"""Which cells need no compile, as another one compiles the very library; `expand` and `plan.library_names` ask."""

from __future__ import annotations

from collections.abc import Iterable

from .cells import Cell


def share(cells: Iterable[Cell]) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """Part cells into those that are compiled and those that use the library of an earlier one.

    Fine-tunes of one model differ in their weights alone: with one `model_lib` and the same options, one library of
    mlc_llm's serves them all, compiled here or somewhere else.
    """
    compiled: list[Cell] = []
    sharing: list[Cell] = []
    owners: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        owner = owners.setdefault(cell.library, cell)
        (sharing if _is_shared(owner, cell) else compiled).append(cell)
    return tuple(compiled), tuple(sharing)


def _is_shared(owner: Cell, cell: Cell) -> bool:
    """Whether the library of one cell is that of another, too: of a compiler that leaves the weights to apps."""
    model, other = owner.model, cell.model
    tunes = model.subject != other.subject and model.weights is not None and other.weights is not None
    alike = model.compiler == other.compiler != "relax" and model.source == other.source
    return tunes and alike and model.options == other.options and owner.toolchain == cell.toolchain
