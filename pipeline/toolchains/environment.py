"""A toolchain's Python environment: where it is, and making it where it is ours to make.

The session calls `Environment.ensure` the first time a step wants a worker of that toolchain. An environment of ours
lies in `build/toolchains/<name>-<digest of its spec>/`. It is made under a file lock, and counts as made when its
marker is there, which is written last: a killed installation leaves none and is begun anew.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipeline.errors import ToolMissing
from pipeline.files import sha256_bytes
from pipeline.files.locks import locked
from pipeline.matrix.cells import Toolchain

from .install import install
from .spec import WITHOUT_LIBRARY, Marker, is_made, read_marker, spec, write_marker

FOLDER = "build/toolchains"

_LIBRARIES = ("build", "build/lib", "python/mlc_llm")
"""Where a checkout of mlc-llm has that library once it is built."""


@dataclass(frozen=True)
class Environment:
    """One toolchain on this machine.

    Attributes:
        toolchain: what targets.yaml says.
        root: the project's directory; relative paths begin there.
        frozen: what slipway.lock says it is made of, as pip's `name==version`; None where it was never made.
    """

    toolchain: Toolchain
    root: Path
    frozen: tuple[str, ...] | None = None

    @property
    def kind(self) -> Literal["current", "existing", "made"]:
        """Whose it is: the Python that runs us, one that the user has, or one that we make."""
        if self.toolchain.path is not None:
            return "existing"
        return "made" if is_made(self.toolchain) else "current"

    @property
    def python(self) -> Path:
        """Its interpreter, which may not be there yet."""
        if self.kind == "current":
            return Path(sys.executable)
        if self.kind == "made":
            return self.folder / "bin" / "python"
        given = self.root / Path(self.toolchain.path or "").expanduser()
        return given / "bin" / "python" if given.is_dir() else given

    @cached_property
    def folder(self) -> Path:
        """The directory of an environment of ours; another spec is another directory."""
        digest = sha256_bytes(json.dumps([spec(self.toolchain), self.platform], sort_keys=True).encode())
        return self.root / FOLDER / f"{self.toolchain.name}-{digest[:12]}"

    @property
    def platform(self) -> str:
        """What decides which wheels fit: `linux-x86_64-py3.11`."""
        version = self.toolchain.python or f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"{platform.system().lower()}-{platform.machine().lower()}-py{version}"

    @property
    def source(self) -> Path | None:
        """The checkout of mlc-llm that it uses, if any."""
        if self.toolchain.source is None:
            return None
        return (self.root / Path(self.toolchain.source).expanduser()).resolve()

    @property
    def path(self) -> tuple[Path, ...]:
        """Directories of Python modules that come before its own.

        Raises:
            ToolMissing: `source` is no checkout of mlc-llm.
        """
        if self.source is None:
            return ()
        folder = self.source / "python"
        if not (folder / "mlc_llm").is_dir():
            raise ToolMissing(
                f"toolchain {self.toolchain.name}: its source is no checkout of mlc-llm, for it has no python/mlc_llm",
                where=self.source,
                hint="let `source` name the directory that `git clone` of mlc-llm made",
            )
        return (folder,)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables for whatever runs in it.

        Of a checkout whose C++ library was not built, the Python part is used alone: compiling needs no more.
        """
        if self.source is None:
            return {}
        return {"MLC_LLM_SOURCE_DIR": str(self.source), **({} if self.has_library else {WITHOUT_LIBRARY: "1"})}

    @property
    def has_library(self) -> bool:
        """Whether the C++ library of its checkout has been built."""
        return self.source is not None and any(list(self.source.glob(f"{at}/libmlc_llm*")) for at in _LIBRARIES)

    @property
    def usable(self) -> bool:
        """Whether it is there, whole, and of what slipway.lock says."""
        if self.kind != "made":
            return self.python.is_file()
        made = read_marker(self.folder)
        return made is not None and self.python.is_file() and made.installed == self._installed()

    def made_of(self) -> tuple[str, ...] | None:
        """What an environment of ours consists of, once it is made; None for others."""
        made = read_marker(self.folder) if self.kind == "made" else None
        return None if made is None else made.frozen

    def ensure(self, *, log: Path, note: Callable[[str], None]) -> Path:
        """Return the interpreter, after making the environment where that is ours to do.

        Args:
            log: gets what the installer prints.
            note: told when something that takes long begins.

        Raises:
            ToolMissing: the user's environment, or a Python of the version asked for, is not there.
            StepError: the installation failed.
        """
        if self.kind == "made":
            self._make(log, note)
        elif not self.python.is_file():
            raise ToolMissing(
                f"toolchain {self.toolchain.name}: there is no Python at {self.python}",
                where=self.toolchain.where,
                hint="let `path` name a virtual environment, or the interpreter in it",
            )
        return self.python

    def _make(self, log: Path, note: Callable[[str], None]) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(f"{self.folder}.lock"):
            if self.usable and self.frozen is not None and self.made_of() == self.frozen:
                return
            note(f"toolchain {self.toolchain.name}: making its environment in {self.folder.relative_to(self.root)}")
            shutil.rmtree(self.folder, ignore_errors=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            got = install(self.toolchain, self.folder, self.frozen, cwd=self.root, log=log)
            write_marker(self.folder, Marker(spec(self.toolchain), tuple(got), self._installed()))

    def _installed(self) -> tuple[str, ...]:
        """The distributions in it. Their versions are in their names, so what pip changes by hand shows."""
        return tuple(sorted(item.name for item in self.folder.glob("lib/python*/site-packages/*.dist-info")))
