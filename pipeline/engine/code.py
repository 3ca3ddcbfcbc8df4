"""The digest of the code behind a step: part of every key, so that an upgraded Slipway does not believe old results.

The engine calls `code_digest`. It hashes the sources that a step's module reaches by import inside `pipeline`, and
inside its own package where a project brings steps of its own: a change in the Mach-O reader rebuilds archives and
proofs, and compiles nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from pipeline.files import State, look, sha256_bytes

from .imports import reached

PACKAGE = Path(__file__).resolve().parent.parent
"""The directory of the `pipeline` package."""

DATA = re.compile(rb'^PACKAGE_DATA = "([^"]+)"$', re.MULTILINE)
"""How a module says that a directory of the package belongs to its code."""

_GROUND = ("action", "errors", "nearest", "process", "settings")
SHARED = frozenset({"pipeline", *(f"pipeline.{name}" for name in _GROUND)})
"""How errors are worded and values are carried changes no output, and no variable of ours does."""


@cache
def code_digest(module: str) -> str:
    """SHA-256 over the names and sources of everything that a step's module (`pipeline.steps.archive`) reaches."""
    digest = hashlib.sha256()
    for name, path in code_files(module):
        digest.update(f"{name}\0{_source(path, look(path)).sha256}\0".encode())
    return digest.hexdigest()


@cache
def code_files(module: str) -> tuple[tuple[str, Path], ...]:
    """The source and data files that `code_digest` reads, by name, sorted."""
    own = module.partition(".")[0]
    files = {name: path for name, (path,) in reached([module], partial(_files, own=own)).items()}
    for name in {name for path in files.values() for name in _source(path, look(path)).data}:
        data = (path for path in (PACKAGE / name).rglob("*") if path.is_file())
        files |= {path.relative_to(PACKAGE).as_posix(): path for path in data}
    return tuple(sorted(files.items()))


@cache
def folder(package: str) -> Path | None:
    """The directory of a package with steps; None where it has none."""
    if package.partition(".")[0] == PACKAGE.name:
        return PACKAGE.joinpath(*package.split(".")[1:])
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


@cache
def _files(module: str, own: str) -> tuple[Path, ...]:
    package, _, name = module.partition(".")
    home = folder(package) if name and package in {PACKAGE.name, own} and module not in SHARED else None
    if home is None:
        return ()
    plain = home.joinpath(*name.split("."))
    return tuple(file for file in (plain / "__init__.py", plain.with_suffix(".py")) if file.is_file())[:1]


class _Source(NamedTuple):
    """What is read of a file: its digest, and the directories of data that it names."""

    sha256: str
    data: tuple[str, ...]


@cache
def _source(path: Path, _state: State) -> _Source:
    text = path.read_bytes()
    return _Source(sha256_bytes(text), tuple(name.decode() for name in DATA.findall(text)))
