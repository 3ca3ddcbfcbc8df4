"""Which files a Python file reaches by import, found by reading its import statements and not by running it.

`code` asks for the sources of a step, `sources` for those of a recipe.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from pipeline.compilers.python_imports import imported
from pipeline.files import State, look

Find = Callable[[str], Iterable[Path]]
"""The files that a dotted module name may stand for; none for modules that are none of the caller's business."""

_PARSING = threading.Lock()
"""Threads take turns: see quirk OS-12."""

_CALLED = (b"import_module", b"__import__")
"""What imports by a call: `imported` looks for these in expressions, too."""

_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
"""Where the statements of a statement are, in Python's own order."""


def reached(start: Iterable[str], find: Find) -> dict[str, tuple[Path, ...]]:
    """Every module that `start` leads to, itself included: dotted name -> files, for all that `find` knows."""
    found: dict[str, tuple[Path, ...]] = {}
    seen: set[str] = set()
    todo = list(start)
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        if files := tuple(find(module)):
            found[module] = files
            todo += (name for file in files for name in _imports(file, module, look(file)))
    return found


@cache
def _imports(source: Path, module: str, _state: State) -> tuple[str, ...]:
    if source.suffix != ".py":
        return ()
    try:
        text = source.read_bytes()
        with _PARSING:
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return ()  # whoever digests or runs the file says what is wrong with it
    calls = any(name in text for name in _CALLED)
    return imported(tree if calls else _statements(tree), module, package=source.name == "__init__.py")


def _statements(tree: ast.Module) -> ast.Module:
    """A module of the import statements of another, in the order in which `ast.walk` finds them.

    They are one node in fifty, and to walk all the expressions takes longer than to parse them.
    """
    found: list[ast.stmt] = []
    level: list[ast.AST] = [tree]
    while level:
        inner = [node for parent in level for blocks in _BLOCKS for node in getattr(parent, blocks, ())]
        found += (node for node in inner if isinstance(node, ast.Import | ast.ImportFrom))
        level = inner
    return ast.Module(found, [])
