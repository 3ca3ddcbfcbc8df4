"""The file that says that an environment of ours is whole, and what it was made of. It is written last.

`environment` writes it, `compilers.mlc_probe` reads it inside the environment, where only the standard library is sure
to be there: so nothing else may be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents.codec import encode, load
from pipeline.errors import FormatError
from pipeline.files import write_atomic

NAME = "slipway-toolchain.json"


@dataclass(frozen=True)
class Marker:
    """What an environment was made of.

    Attributes:
        spec: see `spec.spec`.
        frozen: exact requirements.
        installed: the distributions that were in it then.
    """

    spec: Mapping[str, object]
    frozen: tuple[str, ...]
    installed: tuple[str, ...]


def read(folder: Path) -> Marker | None:
    """The marker of an environment; None where there is none."""
    try:
        return load(Marker, folder / NAME)
    except (FormatError, OSError):
        return None


def write(folder: Path, marker: Marker) -> None:
    """Declare an environment whole, atomically."""
    write_atomic(folder / NAME, json.dumps(encode(marker), indent=1, sort_keys=True) + "\n")
