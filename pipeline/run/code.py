"""The digest of the code behind a step: part of every key, so that an upgraded Slipway does not believe old results.

The engine calls `code_digest`. It hashes the sources that a step's module reaches by import inside `pipeline`: a change
in the Mach-O reader rebuilds archives and proofs, and compiles nothing.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from .imports import reached

PACKAGE = Path(__file__).resolve().parent.parent
"""The directory of the `pipeline` package."""

DATA = {"pipeline.steps.linkkit": "templates"}
"""Directories of data that belong to a step's code."""

SHARED = frozenset({"pipeline.errors", "pipeline.action", "pipeline.process", "pipeline"})
"""The seams: how errors are worded and values are carried changes no output."""


@cache
def code_digest(module: str) -> str:
    """SHA-256 over the names and sources of everything that a step's module (`pipeline.steps.compile`) reaches."""
    digest = hashlib.sha256()
    for name, path in code_files(module):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def code_files(module: str) -> tuple[tuple[str, Path], ...]:
    """The source and data files that `code_digest` reads, by name, sorted."""
    files = reached([module, *_named_for_a_worker(module)], _source)
    for user, folder in DATA.items():
        if user in files:
            data = (path for path in (PACKAGE / folder).rglob("*") if path.is_file())
            files |= {path.relative_to(PACKAGE).as_posix(): path for path in data}
    return tuple(sorted(files.items()))


def _source(module: str) -> Path | None:
    if module in SHARED or not module.startswith("pipeline."):
        return None
    plain = PACKAGE.joinpath(*module.split(".")[1:])
    return next((file for file in (plain.with_suffix(".py"), plain / "__init__.py") if file.is_file()), None)


def _named_for_a_worker(module: str) -> list[str]:
    """Modules that a step does not import but names ("module:function") for a worker to run."""
    source = _source(module)
    tree = ast.parse(source.read_bytes()) if source is not None else ast.Module([], [])
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [text.partition(":")[0] for text in strings if text.startswith("pipeline.") and ":" in text]
