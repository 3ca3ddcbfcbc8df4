"""Paths written in targets.yaml: normal form, existence, functions in the files, variables that stand for checkouts.

A recipe is never run here: it may import a compiler, and belongs into a worker. So where a name could come about in a
way that reading does not show, the answer is "not known", and running the recipe will tell.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from pipeline.files import read_file
from pipeline.nearest import did_you_mean

from .diagnostics import Diagnostics
from .document import Steps

_DYNAMIC = frozenset({"globals", "vars", "locals", "exec", "setattr", "__getattr__"})
"""Names whose use means that others may be defined without being written down."""


def normal(written: str) -> str:
    """A path without detours; relative to the file's directory where it was written so."""
    return os.path.normpath(written)


def must_exist(place: Steps, written: str, root: Path, problems: Diagnostics, *, folder: bool | None = None) -> bool:
    """Whether there is such a file or directory; a problem where there is none, or it cannot be walked.

    With `folder` it must be a directory, or (False) must not.
    """
    path = os.path.join(root, written)  # noqa: PTH118 - Path.exists raises for names that are too long
    if os.path.isdir(path) and folder is not False:  # noqa: PTH112
        return not _holds_project(place, path, written, root, problems)
    if os.path.isfile(path) and not folder:  # noqa: PTH113
        return True
    if os.path.isdir(path):  # noqa: PTH112
        problems.add(place, f"`{written}` is a directory", "name the file in it")
        return False
    if os.path.lexists(path) and not folder:
        dangling = not os.path.exists(path)  # noqa: PTH110
        what = "is a link to a place where nothing is" if dangling else "is neither a file nor a directory"
        problems.add(place, f"`{written}` {what}", "put the file itself there, or correct the path")
        return False
    parent, name = os.path.split(os.path.normpath(path))
    beside = os.listdir(parent) if os.path.isdir(parent) and os.access(parent, os.R_OK) else []  # noqa: PTH112, PTH208
    relative = f"paths are relative to the directory of {Path(problems.document.file).name}"
    hint = did_you_mean(name, beside, "`{}` there") or relative
    problems.add(place, f"there is no {'directory' if folder else 'file'} `{written}`", hint)
    return False


def must_be_apart(place: Steps, written: str, root: Path, problems: Diagnostics, *, folder: bool | None = None) -> bool:
    """Whether there are such weights, as `must_exist`: outside of the project only where that is plainly meant."""
    if _holds_project(place, root / written, written, root, problems):
        return False
    if Path(normal(written)).parts[:1] == ("..",):
        hint = "write an absolute path, or move the weights (a symbolic link will do) into the project"
        problems.add(place, f"`{written}` leads out of the project", hint)
        return False
    return must_exist(place, written, root, problems, folder=folder)


def _holds_project(place: Steps, path: str | Path, written: str, root: Path, problems: Diagnostics) -> bool:
    """Whether a directory would take in all that is built, and change with it."""
    whole = Path(os.path.realpath(path))
    holds = whole in {root.resolve(), *root.resolve().parents}
    if holds:
        problems.add(
            place, f"`{written}` holds this project itself", "name the directory that has nothing but what is wanted"
        )
    return holds


def checkout(place: Steps, written: str | None, variables: Sequence[str], problems: Diagnostics) -> str | None:
    """The directory of a checkout, with a variable in front of it replaced by what it says."""
    names = "|".join(variables)
    named = re.match(rf"[$](?:({names})\b|[{{]({names})[}}])", written or "")
    if written is None or named is None:
        return written
    variable = named[1] or named[2]
    said = os.environ.get(variable)
    if not said:
        hint = f"set it to a checkout: export {variable}=/path/to/checkout"
        problems.add(place, f"the variable {variable} is not set", hint)
        return None
    return said + written[named.end() :]


def must_define(place: Steps, written: str, function: str, root: Path, problems: Diagnostics) -> None:
    """Report a function that a file does not have: a slip in `recipe.py:biuld`, before anything is built."""
    names = _defined_names(root / written)
    if names is not None and function not in names:
        hint = did_you_mean(function, names) or f"define `{function}` there, or name another function"
        problems.add(place, f"`{written}` defines no `{function}`", hint)


def _defined_names(path: Path) -> frozenset[str] | None:
    """The names at the top level of a Python file; None where they cannot be known by reading it."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@cache
def _read(path: Path, _mtime: int, _size: int) -> frozenset[str] | None:
    try:
        tree = ast.parse(read_file(path))
    except (OSError, SyntaxError, ValueError):
        return None  # whoever runs it says what is wrong with it
    for node in ast.walk(tree):
        star = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        if star or not _DYNAMIC.isdisjoint({getattr(node, "id", None), getattr(node, "name", None)}):
            return None
    return frozenset(_bound(tree))


def _bound(tree: ast.AST) -> Iterator[str]:
    """Names bound in a scope, blocks of `if`, `try` and `with` included, functions and classes in it not entered."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            yield from _bound(node)
