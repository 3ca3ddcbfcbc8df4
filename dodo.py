"""The tasks of targets.yaml, and those that check the project itself: `doit lint imports types docs tests`.

A plain `doit` builds the matrix alone. Programs run from the Python that runs doit, so `./dev doit lint` finds them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.dodo import DOIT_CONFIG, task_slipway

DOIT_CONFIG["default_tasks"] = ["*:*"]  # every task of the matrix is a sub-task, and none of those below

CODE = ("pipeline", "docs", "tests", "bench", "recipes", "examples", ".github")
SCHEMA = "pipeline/matrix/targets.schema.json"
REFERENCE = "docs/reference/targets.md"


def files(*folders: str, suffixes: Iterable[str] = (".py",)) -> list[str]:
    """The files below folders that end so, without what a build has left there."""
    skipped = {"__pycache__", "build", "dist", "node_modules", "target"}
    return sorted(
        str(path)
        for folder in folders
        for suffix in suffixes
        for path in Path(folder).rglob(f"*{suffix}")
        if path.is_file() and not skipped.intersection(path.parts)
    )


def run(module: str, *arguments: str) -> list[str]:
    """The command line of a Python program."""
    return [sys.executable, "-m", module, *arguments]


def task_lint() -> dict[str, Any]:
    """check style and format (ruff)"""
    return {
        "actions": [run("ruff", "check", "--output-format", "concise", "."), run("ruff", "format", "--check", ".")],
        "file_dep": ["dodo.py", "pyproject.toml", *files(*CODE)],
    }


def task_imports() -> dict[str, Any]:
    """check that imports run downwards (import-linter)"""
    lint_imports = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    return {
        "actions": [[sys.executable, "-c", lint_imports]],
        "file_dep": ["pyproject.toml", *files("pipeline")],
    }


def task_types() -> dict[str, Any]:
    """check types (mypy)"""
    return {"actions": [run("mypy")], "file_dep": ["pyproject.toml", *files("pipeline", "docs")]}


def task_docs() -> dict[str, Any]:
    """write the JSON Schema and the reference of targets.yaml"""
    return {
        "actions": [[sys.executable, "docs/make_reference.py"]],
        "file_dep": files("pipeline/matrix", "docs", suffixes=(".py", ".md.j2", "presets.yaml")),
        "targets": [SCHEMA, REFERENCE],
    }


def task_tests() -> dict[str, Any]:
    """run the tests (pytest)"""
    texts = (".py", ".md", ".yaml", ".yml", ".json", ".j2", ".toml", ".sh", ".js", ".mjs", ".c", ".cc", ".rs", ".txt")
    folders = ("templates", *CODE)
    return {
        "actions": [run("pytest")],
        "file_dep": ["dodo.py", "pyproject.toml", "targets.yaml", *files(*folders, suffixes=texts)],
        "task_dep": ["docs"],
        "verbosity": 2,
    }
