"""What a layout has of one cell, and the forms of libraries: what plan and steps know of layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.platforms import FORMATS

from .cells import Cell

Form = Literal["tar", "archive", "shared", "module"]

FORMS: Mapping[str, tuple[Form, frozenset[str]]] = {
    ".tar": ("tar", frozenset(FORMATS)),
    ".a": ("archive", frozenset(FORMATS)),
    ".so": ("shared", frozenset({"linux", "android"})),
    ".dylib": ("shared", frozenset({"macos"})),
    ".wasm": ("module", frozenset({"wasm"})),
}
"""End of a library's path -> its form, and the platforms that have it."""


@dataclass(frozen=True)
class Placement:
    """What a layout has of one cell.

    Attributes:
        subject: the model variant.
        owner: the variant whose library it uses: itself, but for fine-tunes that share one.
        prefix: what the runtime finds the model by.
        library: path of its library.
        bundle: directory of its bundle, if wanted.
    """

    subject: str
    owner: str
    prefix: str
    backend: str
    library: str
    form: Form
    bundle: str | None


def form_of(path: str) -> tuple[Form, frozenset[str]] | None:
    """The form of a library by its path, and the platforms that have it; None for no path of a library."""
    return next((form for suffix, form in FORMS.items() if path.endswith(suffix)), None)


def filled(pattern: str, cell: Cell) -> str:
    """The path that a pattern stands for."""
    return pattern.format(**cell.model.names, backend=cell.backend.name)
