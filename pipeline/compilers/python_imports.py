"""Which modules a Python file names in its imports, by reading it: the engine and the workers must agree on that.

`pipeline.engine.imports` follows the names to files for the key, `recipe_modules` lets a recipe import what has one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_CALLS = frozenset({"import_module", "__import__"})


def imported(tree: ast.AST, module: str, *, package: bool) -> tuple[str, ...]:
    """The dotted names that a module imports, relative ones resolved; also their parents, whose `__init__` runs first.

    `package` tells whether it is the `__init__` of its name.
    """
    base = module.split(".") if package else module.split(".")[:-1]
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
        elif isinstance(node, ast.Call):
            yield from _called(node)


def _called(node: ast.Call) -> Iterator[str]:
    """The name in `import_module("name")`, where it is written out."""
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if called in _CALLS and node.args and isinstance(node.args[0], ast.Constant):
        name = node.args[0].value
        if isinstance(name, str) and not name.startswith("."):
            yield name


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))
