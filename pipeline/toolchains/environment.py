"""A toolchain's Python environment: where it is, and making it where it is ours to make.

The session calls `Environment.ensure` the first time a step wants a worker of that toolchain. An environment of ours
lies in `build/toolchains/<name>-<digest of its spec>/`. It is made under a file lock, and counts as made when its
marker is there, which is written last: a killed installation leaves none and is begun anew. Installers run through
`pipeline.process`, so that the index, proxy and certificates that the user has set up hold.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipeline.errors import StepError, ToolMissing
from pipeline.files import sha256_bytes
from pipeline.files.locks import locked
from pipeline.matrix.cells import Toolchain
from pipeline.process import run

from .spec import WITHOUT_LIBRARY, Marker, is_made, read_marker, spec, write_marker

FOLDER = "build/toolchains"

_LIBRARIES = ("build", "build/lib", "python/mlc_llm")
"""Where a checkout of mlc-llm has that library once it is built."""

_INDEXES = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "trusted-host", "proxy")
"""Settings of pip that decide where packages come from. uv reads none of them."""

_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")

_CLEAN = {"PYTHONPATH": None, "PYTHONHOME": None, "VIRTUAL_ENV": None, "PIP_REQUIRE_VIRTUALENV": None}
"""What would make an installer look at another environment than the new one."""


@dataclass(frozen=True)
class Environment:
    """One toolchain on this machine.

    Attributes:
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
        """Return the interpreter, after making the environment where that is ours to do, of which `note` is told.

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
            got = _install(self.toolchain, self.folder, self.frozen, cwd=self.root, log=log)
            write_marker(self.folder, Marker(spec(self.toolchain), tuple(got), self._installed()))

    def _installed(self) -> tuple[str, ...]:
        """The distributions in it. Their versions are in their names, so what pip changes by hand shows."""
        return tuple(sorted(item.name for item in self.folder.glob("lib/python*/site-packages/*.dist-info")))


def _install(
    toolchain: Toolchain, folder: Path, frozen: Sequence[str] | None, *, cwd: Path, log: Path
) -> tuple[str, ...]:
    """Make the environment of a toolchain in a new folder: with uv where it is on PATH, else with venv and pip.

    The exact requirements in `frozen` are installed instead of resolving the toolchain's; paths in requirements begin
    in `cwd`.

    Returns:
        What is in it now, exactly: `pip freeze`.

    Raises:
        ToolMissing: there is no Python of the version asked for.
        StepError: the installation failed, or did not yield what is frozen.
    """
    uv = shutil.which("uv")
    python = folder / "bin" / "python"
    if uv is not None and _uv_may(log):
        wanted = toolchain.python or sys.executable
        run([uv, "venv", "--python", wanted, folder], log=log, cwd=cwd, env=_CLEAN, inherit=True)
        base: list[str | Path] = [uv, "pip", "install", "--compile-bytecode", "--python", python]
        freeze: list[str | Path] = [uv, "pip", "freeze", "--python", python]
        pre = ["--prerelease", "allow"]
    else:
        run([_interpreter(toolchain), "-m", "venv", folder], log=log, cwd=cwd, env=_CLEAN, inherit=True)
        base = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        freeze = [python, "-m", "pip", "freeze", "--local", "--disable-pip-version-check"]
        pre = ["--pre"]
    links = [word for link in toolchain.find_links for word in ("--find-links", link)]
    what = [*(pre if toolchain.pre else []), *links]
    what += toolchain.requirements if frozen is None else ["--no-deps", *frozen]
    if frozen or toolchain.requirements:
        try:
            run([*base, *what], log=log, cwd=cwd, env=_CLEAN, inherit=True)
        except StepError as error:
            raise StepError(f"toolchain {toolchain.name}: {error.what}", hint=_hint(frozen), log=log) from error
    got = _frozen(run(freeze, log=log, cwd=cwd, env=_CLEAN, inherit=True, apart=True).output.splitlines())
    missing = sorted(set(frozen or ()) - set(got))
    if missing:
        raise StepError(
            f"toolchain {toolchain.name} was to have {', '.join(missing)}, as slipway.lock says, and has not",
            hint=_hint(frozen),
            log=log,
        )
    return tuple(frozen) if frozen is not None else got


def _hint(frozen: Sequence[str] | None) -> str:
    if frozen is None:
        return "check its requirements and find_links in targets.yaml, and that pip's index has them (pip config list)"
    return "a version that its index no longer has: delete the toolchain's entry from slipway.lock and run doit again"


def _frozen(lines: Iterable[str]) -> tuple[str, ...]:
    """Requirements out of what `freeze` prints: no comments, no warnings."""
    words = (line.strip() for line in lines)
    kept = [line for line in words if "==" in line.split(" ")[0] or line.startswith("-e ") or " @ " in line]
    return tuple(sorted(kept, key=str.lower))


def _interpreter(toolchain: Toolchain) -> str:
    """A Python of the version asked for."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if toolchain.python is None or toolchain.python == here:
        return sys.executable
    found = shutil.which(f"python{toolchain.python}")
    if found is None:
        raise ToolMissing(
            f"toolchain {toolchain.name} asks for Python {toolchain.python}, and there is no "
            f"python{toolchain.python} on PATH",
            where=toolchain.where,
            hint=f"install it, or uv (which brings its own), or ask for this one: {here}",
        )
    return found


def _uv_may(log: Path) -> bool:
    """Whether uv would look where pip looks: it reads no setting of pip's, and a mirror must not be passed by."""
    if any(os.environ.get(name) for name in _UV_INDEXES):
        return True
    said = run([sys.executable, "-m", "pip", "config", "list"], check=False, apart=True, inherit=True)
    keys = {line.partition("=")[0].rpartition(".")[2] for line in said.output.splitlines()}
    ours = sorted(keys.intersection(_INDEXES))
    if ours:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"pip is set up with {', '.join(ours)}, which uv does not read: installing with pip\n")
    return not ours
