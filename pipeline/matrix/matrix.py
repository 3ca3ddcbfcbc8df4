"""A whole matrix file as a value: what `expand` makes and `plan` reads. No step sees it, so it is in no key.

Which cells share a library is said here, too, and whether slices hold the same models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import Position

from .cells import Backend, Cell, ModelVariant, Product, Runtime, Toolchain, Twins
from .source import FileKind, WeightsSource


@dataclass(frozen=True)
class ModelFile:
    """A model that is not compiled, but bundled as it is.

    Attributes:
        sha256: what a file of the user's must hash to, where that is pinned.
        estimated_vram_bytes: what it takes of a device's memory, where targets.yaml says so.
    """

    name: str
    kind: FileKind
    source: WeightsSource
    sha256: str | None
    where: Position = field(compare=False)
    estimated_vram_bytes: int | None = None

    @property
    def subject(self) -> str:
        """The name in tasks."""
        return self.name

    @property
    def names(self) -> dict[str, str]:
        """What placeholders in targets.yaml stand for."""
        return {"subject": self.name, "model": self.name}


@dataclass(frozen=True)
class Wanted:
    """A model or variant that a device must be able to hold: its name, and the place in targets.yaml."""

    name: str
    where: Position | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Device:
    """What models are for.

    Attributes:
        os: its system, as a backend's platform.
        ram: bytes of memory.
        usable: bytes of it that an app can use for its model.
        backends: names of the backends for it, the best first, each one in some cell of the matrix.
        models: what it must be able to hold; None where that is not said.
        adb_model: patterns of what adb calls it.
    """

    name: str
    gpu: str
    os: str
    ram: int
    usable: int
    backends: tuple[str, ...]
    models: tuple[Wanted, ...] | None
    where: Position = field(compare=False)
    adb_model: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepInput:
    """What a step reads: a file or directory of the tree, or outputs of a task; one of both is set.

    Attributes:
        path: relative to the root, or absolute.
        task: `bundle:minilm-f32`.
        only: patterns of the outputs that are taken; all where there are none.
    """

    path: str | None
    task: str | None
    only: tuple[str, ...]
    where: Position = field(compare=False)


@dataclass(frozen=True)
class CustomStep:
    """A command of the user's on one subject.

    Attributes:
        subject: a model variant, a cell, a product, or `once`.
        command: its words; `{in.NAME}` and `{out}` are filled in when it runs, `{{` is a brace.
        program: the program to be found on PATH; None where it is one of the inputs.
        outputs: names and patterns of what it must leave in `{out}`.
        secrets: names of variables that are passed on.
        timeout: seconds.
        ship: whether the outputs go to `dist/`.
    """

    name: str
    subject: str
    command: tuple[str, ...]
    program: str | None
    inputs: Mapping[str, StepInput] = field(hash=False)
    outputs: tuple[str, ...]
    environment: Mapping[str, str] = field(hash=False)
    secrets: tuple[str, ...]
    timeout: float
    ship: bool
    where: Position = field(compare=False)

    @property
    def task(self) -> str:
        """`ava3:minilm-f32`."""
        return f"{self.name}:{self.subject}"


@dataclass(frozen=True)
class Matrix:
    """A whole matrix file, expanded and checked.

    Attributes:
        path: the file as it was named.
        root: the directory of the file, absolute; paths in the file are relative to it.
        name: base name of the libraries: `models` gives `libmodels.a`.
        toolchains: all that are defined, with `current` always among them.
        cells: every compile, in the order of the file, subjects unique.
        models: the model variants of `cells` and `sharing`.
        backends: the backends that some cell compiles for.
        runtime: what apps link beside the models, for the backends that targets.yaml says.
        sharing: cells that need no compile, as one of `cells` compiles the very library; see `share`.
        twins: see `Twins`; None where this machine is of no kind that is known.
        steps: commands of the user's, each for every subject it is for.
        runtime_version: the release of TVM whose runtime apps have; None where targets.yaml does not say.
        remarks: what is right in the file and may surprise, one line each.
        files: models that are not compiled.
    """

    path: Path
    root: Path
    name: str
    toolchains: tuple[Toolchain, ...]
    cells: tuple[Cell, ...]
    models: tuple[ModelVariant, ...]
    backends: tuple[Backend, ...]
    products: tuple[Product, ...]
    runtime: Runtime = field(default_factory=Runtime)
    sharing: tuple[Cell, ...] = ()
    twins: Twins | None = None
    devices: tuple[Device, ...] = ()
    steps: tuple[CustomStep, ...] = ()
    remarks: tuple[str, ...] = ()
    files: tuple[ModelFile, ...] = ()
    runtime_version: str | None = None

    @property
    def every_cell(self) -> tuple[Cell, ...]:
        """Those that are compiled, and those that use the library of one."""
        return (*self.cells, *self.sharing)

    def cells_for(self, backend: Backend) -> list[Cell]:
        """What is compiled for a backend."""
        return [cell for cell in self.cells if cell.backend.name == backend.name]

    def backends_of(self, product: Product) -> tuple[Backend, ...]:
        """The backends of a product, in its order."""
        known = {one.name: one for one in self.backends}
        return tuple(known[name] for name in product.backends if name in known)

    def library_of(self, cell: Cell) -> Cell:
        """The cell that compiles the library of this one: itself, unless it is one of `sharing`."""
        owners = (one for one in self.cells if (one.backend.name, one.model.prefix) == cell.library)
        return next(owners, cell)


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
