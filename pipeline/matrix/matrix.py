"""A whole matrix file as a value: what `expand` makes and `plan` reads. No step sees it, so it is in no key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .cells import Backend, Cell, ModelVariant, Product, Runtime, Toolchain, Twins
from .custom import CustomStep
from .device import Device
from .model_file import ModelFile


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
        products: all that are defined.
        runtime: what apps link beside the models, where targets.yaml says so.
        sharing: cells that need no compile, as one of `cells` compiles the very library; see `shared_libraries`.
        twins: see `Twins`; None where this machine is of no kind that is known.
        devices: all that are defined.
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
    runtime: Runtime | None = None
    sharing: tuple[Cell, ...] = ()
    twins: Twins | None = None
    devices: tuple[Device, ...] = ()
    steps: tuple[CustomStep, ...] = ()
    remarks: tuple[str, ...] = ()
    files: tuple[ModelFile, ...] = ()
    runtime_version: str | None = None

    def library_of(self, cell: Cell) -> Cell:
        """The cell that compiles the library of this one: itself, unless it is one of `sharing`."""
        owners = (one for one in self.cells if (one.backend.name, one.model.prefix) == cell.library)
        return next(owners, cell)
