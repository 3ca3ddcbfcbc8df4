"""Finds the programs and environments that actions name, and says what they are, for the key.

The session makes a `Finder`, the engine asks it. A program is asked for its version once: as long as its file stays
the same, the answer is remembered, so that a build with nothing to do starts no program at all.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.action import Tool
from pipeline.files import hash_path
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.process import state_of

from . import native

if TYPE_CHECKING:
    from pipeline.toolchains.environment import Environment

PYTHON_OF = "python:"
"""Before the name of a toolchain: its interpreter and packages."""

PROGRAM = "program:"
"""Before the name of a program of a custom step: it is known by the digest of its file, and not run to be asked."""

PYTHON = f"{PYTHON_OF}current"
"""The name of the environment that runs us: its Python and the packages that can change what is compiled."""

PACKAGES = ("apache-tvm", "apache-tvm-ffi", "numpy", "ml-dtypes", "onnx", "torch")
PACKAGE_FAMILIES = ("mlc-llm", "mlc-ai")
"""Nightly packages carry their kind in their name (`mlc-llm-nightly-cpu`)."""

_LLVM = tuple(range(22, 13, -1))

PROGRAMS = {
    "ld64.lld": ("ld64.lld", *(f"ld64.lld-{n}" for n in _LLVM)),
    "ld.lld": ("ld.lld", *(f"ld.lld-{n}" for n in _LLVM), *(() if sys.platform == "darwin" else ("ld",))),
    "wasm-ld": ("wasm-ld", *(f"wasm-ld-{n}" for n in _LLVM)),
    "lld-link": ("lld-link", *(f"lld-link-{n}" for n in _LLVM)),
    "cc": ("cc", "gcc", "clang"),
    "c++": ("c++", "g++", "clang++"),
    "aarch64-cc": ("aarch64-linux-gnu-gcc", "aarch64-unknown-linux-gnu-gcc"),
    "aarch64-c++": ("aarch64-linux-gnu-g++", "aarch64-unknown-linux-gnu-g++"),
    "qemu-aarch64": ("qemu-aarch64", "qemu-aarch64-static"),
    "wine": ("wine64", "wine", "/usr/lib/wine/wine64"),
    "mingw-c++": ("x86_64-w64-mingw32-g++-posix", "x86_64-w64-mingw32-g++"),
    "node": ("node", "nodejs"),
    # Debian's own file first: what is on PATH is a script, see quirk WASM-12.
    "chromium": (
        "/usr/lib/chromium/chromium",
        "chromium",
        "chromium-browser",
        "google-chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ),
}
"""Names in keys -> file names that will do, best first. Any other name is itself the file's name."""

FROM_XCODE = {"ld64.lld": "ld"}
"""Names for which Xcode has a program that will do, on a Mac."""

VERSION_FLAGS = {"ld": "-v", "xcodebuild": "-version"}
"""Programs that do not know `--version`. GNU's `ld` knows both, Apple's only this."""


class Finder:
    """Looks programs up on PATH, with a memo of what they said.

    The memo is a file of ours, made anew when it is damaged. `environments` gives the environment of a toolchain that
    is not `current`, `checkouts` the directory of a checkout that is built, both by name.
    """

    def __init__(
        self,
        memo: Path,
        environments: Callable[[str], Environment] | None = None,
        checkouts: Callable[[str], Path | None] = lambda _: None,
    ) -> None:
        self._memo = memo
        self._environments = environments
        self._checkouts = checkouts
        self._lock = threading.Lock()

    def find(self, name: str) -> Tool | None:
        """The first candidate for the name that can say its version; None where there is none.

        For `python:current` the version lists the packages of `PACKAGES` that are installed.
        """
        if name == PYTHON:
            return Tool(
                name, Path(sys.executable), self._remember([PYTHON, *map(state_of, _python_paths())], _python_version)
            )
        if (environment := self._environment(name)) is not None:
            from pipeline.toolchains import identity  # noqa: PLC0415 - most projects have no other toolchain

            known = identity.version(environment, self._remember, PACKAGES, PACKAGE_FAMILIES)
            return None if known is None else Tool(name, environment.python, known)
        if native.is_native(name):
            return native.find(name, self._remember, self._checkouts)
        kind, ask = _way_of_asking(name)
        for path in self._candidates(name):
            version = self._remember([*kind, state_of(path), *native.xcode()], partial(ask, path))
            if version:
                return Tool(name, path, version)
        return None

    def watch_paths(self, name: str) -> list[Path]:
        """Files and directories of which at least one changes whenever `find` would answer differently.

        They are the program, every directory of PATH (where a better candidate could appear) and, on a Mac, Xcode's.
        PATH and DEVELOPER_DIR themselves, being variables, are for the caller to watch.
        """
        if name == PYTHON:
            return _python_paths()
        if (environment := self._environment(name)) is not None:
            from pipeline.toolchains import identity  # noqa: PLC0415 - see `find`

            return identity.watched(environment, self._remember)
        tool = self.find(name)
        paths = [*([tool.path] if tool else []), *map(Path, os.get_exec_path()), *native.xcode_paths()]
        if native.is_native(name):
            paths += native.watched(name, self._checkouts)
        return [path for path in dict.fromkeys(paths) if path.exists()]

    def _environment(self, name: str) -> Environment | None:
        if self._environments is None or not name.startswith(PYTHON_OF):
            return None
        return self._environments(name.removeprefix(PYTHON_OF))

    def _candidates(self, name: str) -> Iterator[Path]:
        for file in PROGRAMS.get(name, (name.removeprefix(PROGRAM),)):
            if found := shutil.which(file):
                yield Path(found)
        if sys.platform == "darwin" and name in FROM_XCODE and (xcrun := shutil.which("xcrun")):
            words = [xcrun, "--find", FROM_XCODE[name]]
            path = self._remember([*words, *native.xcode()], partial(native.said, *words))
            if path:
                yield Path(path)

    def _remember(self, question: list[object], answer: Callable[[], str]) -> str:
        """The memo's answer to a question, or else the real one, kept unless it is empty: a failure may be mended."""
        asked = json.dumps(question)
        with self._lock:
            memo = _load(self._memo)
        if asked in memo:
            return memo[asked]
        said = answer()
        if said:
            with self._lock:  # a build without a memo is slower, and right
                write_sealed(self._memo, json.dumps(_load(self._memo) | {asked: said}).encode())
        return said


def _load(path: Path) -> dict[str, str]:
    """The memo, if all of it is as it was written: a version in it that lost a bit would make wrong keys."""
    body = read_sealed(path)
    said: dict[str, str] = {} if body is None else json.loads(body)
    return said


def _way_of_asking(name: str) -> tuple[list[object], Callable[[Path], str]]:
    """What tells a program from another of its name, and what the memo's question begins with for that."""
    if name.startswith(PROGRAM):
        return [PROGRAM], hash_path
    if name == "mlc_llm":  # its like do not know `--version`
        from pipeline.toolchains.identity import program_digest  # noqa: PLC0415 - most projects have no other toolchain

        return [name], program_digest
    return [], _version


def _version(path: Path) -> str:
    return native.said(path, VERSION_FLAGS.get(path.name, "--version"))


def _python_paths() -> list[Path]:
    """The interpreter, and the directories of its packages, in which every installation changes an entry."""
    return [
        Path(sys.executable),
        *(path for path in map(Path, dict.fromkeys(sys.path)) if path.name.endswith("-packages")),
    ]


def _python_version() -> str:
    import platform  # noqa: PLC0415 - dear, and seldom needed
    from importlib import metadata  # noqa: PLC0415

    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        try:
            name = (distribution.metadata.get_all("Name") or [""])[0].lower().replace("_", "-")
        except FileNotFoundError:  # a broken installation, where importlib_metadata is in charge
            continue
        if name in PACKAGES or name.startswith(PACKAGE_FAMILIES):
            found.setdefault(name, distribution.version)  # the first on the path is the one that is imported
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join([python, *(f"{name} {version}" for name, version in sorted(found.items()))])
