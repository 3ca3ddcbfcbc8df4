"""Which files lie behind a source: what a recipe imports from beside it, the tensors that an ONNX model keeps apart.

`inputs` digests them for the key and watches them. A name that is imported and not there is looked for again in every
run: the folders it would appear in are watched, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.binary.onnx import external_files
from pipeline.files import look

from .imports import reached

_CODE = (".py", ".pyc", ".so", ".pyd")
"""What Python may take for a module. Which of several it prefers, and whether a compiled one fits, only the toolchain's
Python knows; so all of them are in the key."""


@dataclass(frozen=True)
class Behind:
    """What lies behind a source.

    Attributes:
        path: the source itself, links resolved.
        files: it, unless it is a directory, and what it leads to, sorted.
        folders: where they were looked for.
    """

    path: Path
    files: tuple[Path, ...]
    folders: tuple[Path, ...] = ()


def behind(path: Path) -> Behind:
    """The files behind a recipe, an ONNX model, or a directory or file that one of them reads; links are resolved.

    Of a directory these are the Python files in it, and what they import from beside it.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        inside = [file.relative_to(path.parent) for file in path.rglob("*.py") if file.is_file()]
        return _recipe(path, [".".join(_module(file)) for file in inside])
    if path.suffix == ".py":
        found = _recipe(path, [path.stem])
        return Behind(path, tuple(sorted({path, *found.files})), found.folders)
    if path.suffix == ".onnx":
        return Behind(path, (path, *(path.parent / name for name in external_files(path, look(path)))))
    return Behind(path, (path,))


def _module(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _recipe(path: Path, modules: list[str]) -> Behind:
    beside = _Beside(path.parent)
    files = {file for found in reached(modules, beside.find).values() for file in found}
    return Behind(path, tuple(sorted(files)), tuple(sorted(beside.listed)))


@dataclass
class _Beside:
    """Looks for modules in a folder, and remembers where it looked."""

    home: Path
    listed: dict[Path, frozenset[str]] = field(default_factory=dict)

    def find(self, module: str) -> Iterator[Path]:
        *parents, last = module.split(".")
        folder = self.home.joinpath(*parents)
        names = self._names(folder)
        yield from (folder / name for name in sorted(names) if _stands_for(name, last))
        if last in names:
            package = folder / last
            yield from (package / name for name in sorted(self._names(package)) if _stands_for(name, "__init__"))

    def _names(self, folder: Path) -> frozenset[str]:
        """What is in a folder; nothing where its own folder shows that it is not there."""
        if folder not in self.listed:
            if folder != self.home and folder.name not in self._names(folder.parent):
                return frozenset()
            try:
                names = frozenset(os.listdir(folder))
            except OSError:
                return frozenset()
            self.listed[folder] = names
        return self.listed[folder]


def _stands_for(name: str, module: str) -> bool:
    """Whether a file name is one of a module: `fast.py`, `fast.cpython-311-x86_64-linux-gnu.so`."""
    stem, _, rest = name.partition(".")
    return stem == module and (f".{rest}" in _CODE or rest.endswith((".so", ".pyd")))
