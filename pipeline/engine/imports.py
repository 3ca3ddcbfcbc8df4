"""Which files a Python file reaches by import, found by reading its import statements and not by running it.

`code` asks for the sources of a step, `sources` for those of a recipe.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from pipeline.compilers.python_imports import imported
from pipeline.files import State, look

Find = Callable[[str], Iterable[Path]]
"""The files that a dotted module name may stand for; none for modules that are none of the caller's business."""


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
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()  # whoever digests or runs the file says what is wrong with it
    return imported(tree, module, package=source.name == "__init__.py")
