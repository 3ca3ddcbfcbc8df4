"""Imports of a recipe: files that the key names are compiled from the very bytes it names, others are refused.

`confinement` puts a `Modules` in front of Python's own finders. Python's own loader would take `__pycache__/x.pyc` for
`x.py` where size and second agree, and whatever lies on `sys.path` by now.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import decode_source, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from pipeline.errors import StepError
from pipeline.files import read_file, sha256_bytes

from .python_imports import imported

OURS = Path(__file__).parents[1]
RENAME = f"`{OURS.name}` is Slipway's own package: give yours another name"
"""A recipe's package of that name is joined to ours, which is imported already: its modules are found where ours has
none of the name."""
DECLARE = "import it by a name that is written out, or name the file in `reads`"
INSTALL = "give its Python source, or install it in the toolchain's environment"


class Modules(MetaPathFinder):
    """Finds modules for a recipe and for what it imports: `files` (path -> SHA-256) are those that the key names.

    Modules in the recipe's folder come before installed ones, as for a script. `unwatched` is a context in which the
    finders may look wherever they want, `may_read` whether a file belongs to the toolchain or is in the key, and
    `refuse` says no, with what and a hint.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        folder: str,
        unwatched: Callable[[], AbstractContextManager[None]],
        may_read: Callable[[str], bool],
        refuse: Callable[[str, str], StepError],
    ) -> None:
        self._files = files
        self._folder = folder
        self._unwatched = unwatched
        self._may_read = may_read
        self._refuse = refuse
        self._named: set[str] = set()

    def load(self, path: Path) -> ModuleType:
        """Import a recipe itself.

        Raises:
            StepError: it has modules that the name of our own package hides.
            Exception: whatever its code raises.
        """
        with self._unwatched():
            self._demand_nothing_hidden()
        spec = self._from_source(f"slipway_recipe_{path.stem}", str(path), None)
        module = module_from_spec(spec)
        sys.modules[spec.name] = module
        if spec.loader is not None:
            spec.loader.exec_module(module)
        return module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of a name; None where there is none.

        Raises:
            StepError: the file it would be is not in the key.
        """
        if fullname in sys.builtin_module_names:
            return None
        with self._unwatched():
            beside = PathFinder.find_spec(fullname, [self._folder]) if path is None else None
            if beside is not None and beside.origin in self._files:
                return self._checked(beside)
            others = (finder.find_spec for finder in sys.meta_path if finder is not self)
            found = next(filter(None, (find(fullname, path, target) for find in others)), None)
            if found is None and fullname.startswith(f"{OURS.name}."):
                found = PathFinder.find_spec(fullname, [f"{self._folder}/{OURS.name}"])
        if beside is not None and _is_folder(beside) and (found is None or _is_folder(found)) and self._holds(beside):
            return beside
        if self._is_asked_by_a_recipe() and (
            (beside is not None and not _is_folder(beside)) or (found is None and fullname not in self._named)
        ):
            what = f"{fullname} is imported by a name that is made up while it runs, so it is not in the key"
            raise self._refuse(what, DECLARE)
        return found and self._checked(found)

    def _demand_nothing_hidden(self) -> None:
        """Refuse modules of the key in a package that is named as ours, where ours are imported in their place."""
        home, ours = Path(self._folder, OURS.name), {path.stem for path in OURS.iterdir()}
        start = home / "__init__.py"
        inside = {file for file in map(Path, self._files) if home in file.parents} - {start}
        hidden = {file for file in inside if file.relative_to(home).parts[0].partition(".")[0] in ours}
        if inside and str(start) in self._files and not _is_docstring(start):
            hidden.add(start)
        if hidden:
            raise self._refuse(f"{min(hidden)} is not imported", RENAME)

    def _checked(self, spec: ModuleSpec) -> ModuleSpec:
        origin = spec.origin
        if origin is None or not spec.has_location:
            return spec
        if origin in self._files:
            if not origin.endswith(".py"):
                raise self._refuse(f"{spec.name} is compiled: {origin}", INSTALL)
            return self._from_source(spec.name, origin, spec.submodule_search_locations)
        if self._may_read(origin):
            return spec
        hint = f"name it in `reads`: {origin}; or install a copy of it in the toolchain's environment"
        raise self._refuse(f"{spec.name} is imported from {origin}, which is not in the key", hint)

    def _from_source(self, name: str, origin: str, folders: list[str] | None) -> ModuleSpec:
        loader = SourceLoader(origin, self._files.get(origin), self._named)
        spec = spec_from_file_location(name, origin, loader=loader, submodule_search_locations=folders)
        if spec is None:  # by its loader it never is
            raise StepError(f"{origin} cannot be imported")
        return spec

    def _holds(self, package: ModuleSpec) -> bool:
        """Whether a file of the key lies in a folder."""
        folders = tuple(f"{folder}/" for folder in package.submodule_search_locations or ())
        return any(file.startswith(folders) for file in self._files)

    def _is_asked_by_a_recipe(self) -> bool:
        """Whether the import is in a recipe's own code, and not in that of a library."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to learn who asks
        while frame is not None and (frame.f_code.co_filename == __file__ or _is_machinery(frame)):
            frame = frame.f_back
        return frame is not None and frame.f_code.co_filename in self._files


def _is_machinery(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "importlib"


def _is_docstring(path: Path) -> bool:
    """Whether a Python file does nothing when it is imported."""
    body = ast.parse(read_file(path)).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def _is_folder(spec: ModuleSpec) -> bool:
    """Whether it is a package without `__init__.py`, which Python takes where it finds nothing else."""
    return spec.origin is None and spec.submodule_search_locations is not None


class SourceLoader(InspectLoader):
    """Compiles one file from bytes whose digest was looked at, and nothing that lies beside it."""

    def __init__(self, path: str, sha256: str | None, named: set[str]) -> None:
        self._path = path
        self._sha256 = sha256
        self._named = named

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - a loader's signature
        """The text, where it is what the key names.

        Raises:
            StepError: it has changed since the key was made.
        """
        return decode_source(self._bytes())

    def get_code(self, fullname: str) -> CodeType:
        """The code. `inspect` gets the text that it was made of, as TVMScript wants it, and not the file's of later."""
        data = self._bytes()
        tree = ast.parse(data, self._path)
        self._named.update(imported(tree, fullname, package=self._path.endswith("/__init__.py")))
        text = decode_source(data)
        linecache.cache[self._path] = (len(text), None, text.splitlines(keepends=True), self._path)
        return compile(tree, self._path, "exec", dont_inherit=True)

    def _bytes(self) -> bytes:
        data = Path(self._path).read_bytes()
        if sha256_bytes(data) != self._sha256:
            raise StepError("this file changed while it was read", where=self._path, hint="run doit again")
        return data
