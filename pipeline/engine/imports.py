"""Which files a Python file reaches by import, found by reading its import statements and not by running it.

`code` asks for the sources of a step, `sources` for those of a recipe.
"""

from __future__ import annotations

import ast
import contextlib
import re
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
"""What imports by a call: only the whole file shows these."""

_BEGINNING = re.compile(r"(?:^|[;:])[ \t\f]*(?:from|import)\b", re.MULTILINE)
"""Wherever an import statement can begin."""

_STATEMENT = re.compile(
    r"^[ \t\f]*((?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+(?:\([^()\\;]*\)|[\w., \t]+))(?:#.*)?$", re.MULTILINE
)
"""An import statement as almost everybody writes it, on lines of its own."""


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
        data = source.read_bytes()
        with _PARSING:
            tree = _parsed(data)
    except (OSError, SyntaxError, ValueError):
        return ()  # whoever digests or runs the file says what is wrong with it
    return imported(tree, module, package=source.name == "__init__.py")


def _parsed(data: bytes) -> ast.Module:
    """A module with all imports of a file: its import statements alone, a fifth of the work, or all of it.

    A line of a string may look like an import, too: then more is reached than need be.
    """
    if (statements := _statements(data)) is not None:
        with contextlib.suppress(SyntaxError):
            return ast.parse(statements)
    return ast.parse(data)


def _statements(data: bytes) -> str | None:
    """The import statements of a file; None where only a parser can tell."""
    if b"\r" in data or any(name in data for name in _CALLED):
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None  # its first lines may name another encoding
    found = _STATEMENT.findall(text)
    return "\n".join(found) if len(found) == len(_BEGINNING.findall(text)) else None
