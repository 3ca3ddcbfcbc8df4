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


_LINKS = 40
"""How many links Linux follows until it says that they go in a circle."""


@dataclass(frozen=True)
class Behind:
    """What lies behind a source.

    Attributes:
        path: the source itself, its links resolved as far as its name and what lies beside it allow.
        files: it, unless it is a directory, and what it leads to, sorted.
        folders: where they were looked for.
    """

    path: Path
    files: tuple[Path, ...]
    folders: tuple[Path, ...] = ()


def behind(path: Path) -> Behind:
    """The files behind a recipe, a model, or a directory or file that one of them reads.

    Of a directory these are the Python files in it, and what they import from beside it. What a file is, its content
    says, and of Python the name that the user wrote: a cache of downloads has links to files without a suffix.
    """
    if path.is_dir():
        path = Path(os.path.realpath(path))
        inside = [file.relative_to(path.parent) for file in path.rglob("*.py") if file.is_file()]
        return _recipe(path, [".".join(_module(file)) for file in inside])
    names = _names_of(path)
    if path.suffix == ".py":
        path = [name for name in names if name.suffix == ".py"][-1]
        found = _recipe(path, [path.stem])
        return Behind(path, tuple(sorted({path, *found.files})), found.folders)
    tensors = external_files(names[-1], look(path))
    whole = (name for name in names if all((name.parent / tensor).exists() for tensor in tensors))
    path = next(whole, names[0])
    looked = tuple(name.parent for name in names[: names.index(path)])
    return Behind(path, (path, *(path.parent / tensor for tensor in tensors)), looked)


def _names_of(path: Path) -> list[Path]:
    """A file's name, then what it is a link to, and so on to the file itself; the directories have no links in them."""
    names = [Path(os.path.realpath(path.parent), path.name)]
    while names[-1].is_symlink() and len(names) < _LINKS:
        leads_to = names[-1].parent / os.readlink(names[-1])
        names.append(Path(os.path.realpath(leads_to.parent), leads_to.name))
    return names


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
