"""The file that says that an environment of ours is whole, and what it was made of. It is written last.

`environment` writes it, `compilers.mlc_probe` reads it inside the environment, where only the standard library is sure
to be there: so nothing else may be imported here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.documents import untrusted
from pipeline.errors import FormatError
from pipeline.files import write_atomic

NAME = "slipway-toolchain.json"


def read(folder: Path) -> dict[str, Any] | None:
    """`{"spec", "frozen": exact requirements, "installed": its distributions then}`; None where there is none."""
    try:
        marker: dict[str, Any] = untrusted.load(folder / NAME)
    except FormatError:
        return None
    return marker


def write(folder: Path, marker: dict[str, Any]) -> None:
    """Declare an environment whole, atomically."""
    write_atomic(folder / NAME, json.dumps(marker, indent=1, sort_keys=True) + "\n")
