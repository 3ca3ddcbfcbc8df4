"""What a toolchain's entry in targets.yaml asks for, and what an environment of ours was made of.

`plan` and `environment` ask for the spec: for keys, for slipway.lock, for the name of a directory. The marker says that
an environment is whole, and is written last; `compilers.probe` reads it inside the environment, where only the
standard library is sure to be there, so nothing else may be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents.codec import encode, load
from pipeline.errors import FormatError
from pipeline.files import write_atomic
from pipeline.matrix.cells import Toolchain

MARKER = "slipway-toolchain.json"

WITHOUT_LIBRARY = "SKIP_LOADING_MLCLLM_SO"
"""What tells mlc_llm not to load its C++ library."""


def is_made(toolchain: Toolchain) -> bool:
    """Whether its environment is ours to make; otherwise it is the user's, or the Python that runs us."""
    return toolchain.path is None and bool(toolchain.requirements or toolchain.python is not None)


def spec(toolchain: Toolchain) -> dict[str, object]:
    """What decides what is installed."""
    return {
        "requirements": list(toolchain.requirements),
        "find_links": list(toolchain.find_links),
        "pre": toolchain.pre,
        "python": toolchain.python,
    }


@dataclass(frozen=True)
class Marker:
    """What an environment was made of: its spec, exact requirements, and the distributions that were in it then."""

    spec: Mapping[str, object]
    frozen: tuple[str, ...]
    installed: tuple[str, ...]


def read_marker(folder: Path) -> Marker | None:
    """The marker of an environment; None where there is none."""
    try:
        return load(Marker, folder / MARKER)
    except (FormatError, OSError):
        return None


def write_marker(folder: Path, marker: Marker) -> None:
    """Declare an environment whole, atomically."""
    write_atomic(folder / MARKER, json.dumps(encode(marker), indent=1, sort_keys=True) + "\n")
