"""The digest of the code behind a step: part of every key, so that an upgraded Slipway never believes old results blindly.

The engine calls `code_digest`. It hashes the sources that a step's module reaches by import inside `pipeline`: a change in
the Mach-O reader rebuilds archives and proofs, and compiles nothing.
"""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

from .imports import reached

PACKAGE = Path(__file__).resolve().parent.parent
"""The directory of the `pipeline` package."""

DATA = {"pipeline.steps.linkkit": "templates"}
"""Directories of data that belong to a step's code."""

SHARED = frozenset({"pipeline.errors", "pipeline.action", "pipeline.process", "pipeline"})
"""The seams: how errors are worded and values are carried changes no output."""


@lru_cache(maxsize=None)
def code_digest(step: str) -> str:
    """SHA-256 over the names and sources of everything `pipeline.steps.<step>` reaches."""
    digest = hashlib.sha256()
    for path in code_files(step):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@lru_cache(maxsize=None)
def code_files(step: str) -> tuple[Path, ...]:
    """The source and data files that `code_digest` reads, sorted."""
    entry = f"pipeline.steps.{step}"
    modules = reached([entry, *_named_for_a_worker(entry)], _source)
    files = set(modules.values())
    for module, folder in DATA.items():
        if module in modules:
            files |= {path for path in (PACKAGE / folder).rglob("*") if path.is_file()}
    return tuple(sorted(files))


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
