"""Which files a Python file reaches by import, found by reading its import statements and not by running it.

`code` asks for the sources of a step, the engine for those of a recipe: a recipe that keeps shared parts in a file
beside it must be stale when that file changes. An import made by a computed name is not seen; the docs say so.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

Find = Callable[[str], Path | None]
"""Where the source of a dotted module name lies; None for modules that are none of the caller's business."""


def reached(start: Iterable[str], find: Find) -> dict[str, Path]:
    """Every module that `start` leads to, itself included: dotted name -> source, for all that `find` knows."""
    found: dict[str, Path] = {}
    todo = list(start)
    while todo:
        module = todo.pop()
        if module in found or (source := find(module)) is None:
            continue
        found[module] = source
        stat = source.stat()
        todo += _imports(source, module, stat.st_mtime_ns, stat.st_size)
    return found


def recipe_files(path: Path) -> tuple[Path, ...]:
    """A recipe (a Python file, or a package directory) and all files beside it that it imports, sorted."""
    if path.is_dir():
        return tuple(sorted(path.rglob("*.py")))

    def beside(module: str) -> Path | None:
        plain = path.parent.joinpath(*module.split("."))
        return next((file for file in (plain.with_suffix(".py"), plain / "__init__.py") if file.is_file()), None)

    return tuple(sorted({path, *reached([path.stem], beside).values()}))


@cache
def _imports(source: Path, module: str, _mtime: int, _size: int) -> tuple[str, ...]:
    """Dotted names a file imports, relative ones resolved; also their parents, whose `__init__` runs first."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()  # whoever digests or runs the file says what is wrong with it
    base = module.split(".") if source.name == "__init__.py" else module.split(".")[:-1]
    return tuple(dict.fromkeys(parent for name in _named(tree, base) for parent in _with_parents(name)))


def _named(tree: ast.AST, base: list[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = base[: len(base) - node.level + 1] if node.level else []
            name = ".".join([*parent, *([node.module] if node.module else [])])
            yield name
            yield from (f"{name}.{alias.name}" if name else alias.name for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))
