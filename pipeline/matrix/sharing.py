"""Which cells share a library, and whether slices hold the same models; `expand` and `plan.library_names` ask."""

from collections.abc import Iterable, Sequence

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
