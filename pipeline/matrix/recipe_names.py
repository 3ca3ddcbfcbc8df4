"""Which names a recipe defines, read from its text: a slip in `recipe.py:biuld` is found before anything is built.

`models` asks. A recipe is never run here: it may import a compiler, and belongs into a worker. So where a name could
come about in a way that reading does not show, the answer is "not known", and running the recipe will tell.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.files import read_file

_DYNAMIC = frozenset({"globals", "vars", "locals", "exec", "setattr", "__getattr__"})
"""Names whose use means that others may be defined without being written down."""


def defined_names(path: Path) -> frozenset[str] | None:
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
        if star or (isinstance(node, ast.Name | ast.FunctionDef) and _name(node) in _DYNAMIC):
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


def _name(node: ast.Name | ast.FunctionDef) -> str:
    return node.id if isinstance(node, ast.Name) else node.name
