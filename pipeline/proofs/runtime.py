"""Where a toolchain keeps the TVM runtime that its models are written for.

`find` runs inside that toolchain's interpreter (as a worker's child); the rest of the proofs only see the paths it
returns. It reads the package directories and imports nothing, so it answers in milliseconds and for any version.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = {"tvm_runtime": "tvm", "tvm_ffi": "tvm_ffi"}
"""Library -> the package that ships it. Before tvm-ffi was a package of its own, both came with `tvm`."""


def find() -> dict[str, str]:
    """Paths of the runtime's shared libraries, by name; a library that is not there is left out.

    Wheels keep them under `<package>/lib/`, older ones in the package itself, and a source tree in `build/` or
    `build/lib/` beside `python/`.
    """
    ending = "dylib" if sys.platform == "darwin" else "so"
    found: dict[str, str] = {}
    for library, package in _PACKAGES.items():
        folders = [
            folder
            for home in (*_homes(package), *_homes("tvm"))
            for folder in (home / "lib", home, home.parents[1] / "build" / "lib", home.parents[1] / "build")
        ]
        paths = (folder / f"lib{library}.{ending}" for folder in folders)
        if path := next((path for path in paths if path.is_file()), None):
            found[library] = str(path)
    return found


def _homes(package: str) -> list[Path]:
    spec = find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
