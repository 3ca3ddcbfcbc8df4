"""Finds what is no single program on PATH: Xcode's compilers, the NDK, drivers, a checkout.

`finder.Finder` asks here for such names. Names are the same on every machine; where something is found is not part of
any key, what it says it is, is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline.action import Tool
from pipeline.native.source_tree import read_tree

from . import drivers
from .drivers import DRIVERS

Remember = Callable[[list[object], Callable[[], str]], str]
"""A stat_cache: question, and how to find the answer."""

Ask = Callable[..., str]
"""Runs a program; the first line it says, empty where it fails."""

METAL, SDK, NDK, CHECKOUT = "metal:", "sdk:", "ndk", "checkout:"

NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")
_SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")


def is_native(name: str) -> bool:
    """Whether a tool's name is one of those that are found here."""
    return name in {NDK, *DRIVERS} or name.startswith((METAL, SDK, CHECKOUT))


def find(
    name: str, *, remember: Remember, ask: Ask, state: list[object], checkouts: Callable[[str], Path | None]
) -> Tool | None:
    """The tool of that name, or None where this machine has none.

    Args:
        name: `metal:iphoneos`, `sdk:macosx`, `ndk` or `checkout:runtime`.
        remember: the memo of what programs said.
        ask: asks one.
        state: what changes when Xcode does.
        checkouts: the directory of a checkout by its name.
    """
    if name.startswith(CHECKOUT):
        folder = checkouts(name.removeprefix(CHECKOUT))
        return None if folder is None or not folder.is_dir() else Tool(name, folder, read_tree(folder).version)
    if name == NDK:
        return next(_ndks(), None)
    if name in DRIVERS:
        return drivers.find(name)
    xcrun = shutil.which("xcrun")
    if xcrun is None:
        return None
    kind, _, sdk = name.partition(":")
    compiler = "metal" if kind == "metal" else "clang"
    question = [name, xcrun, Path(xcrun).stat().st_mtime_ns, *state]
    version = remember(question, partial(_of_xcode, ask, xcrun, sdk, compiler))
    return Tool(name, Path(xcrun), version) if version else None


def watched(name: str, checkouts: Callable[[str], Path | None]) -> list[Path]:
    """Files and directories of which one changes whenever `find` would answer differently.

    Of a checkout these are all of its files: nothing less tells that one was edited.
    """
    if name.startswith(CHECKOUT):
        folder = checkouts(name.removeprefix(CHECKOUT))
        if folder is None or not folder.is_dir():
            return [folder] if folder is not None else []
        tree = read_tree(folder)
        return [tree.root, *tree.directories, *(tree.root / path for path in tree.files)]
    if name == NDK:
        return [tool.path / "source.properties" for tool in _ndks()]
    return drivers.watched(name)


def _of_xcode(ask: Ask, xcrun: str, sdk: str, compiler: str) -> str:
    said = ask(xcrun, "-sdk", sdk, compiler, "--version")
    version = ask(xcrun, "-sdk", sdk, "--show-sdk-version")
    return f"{said}, {sdk} {version}" if said and version else ""


def _ndks() -> Iterator[Tool]:
    """Every NDK at hand, the one that a variable names first, then the newest of Android's SDK."""
    for variable in NDK_VARIABLES:
        if folder := os.environ.get(variable):
            yield from _ndk(Path(folder))
    for variable in _SDK_VARIABLES:
        if folder := os.environ.get(variable):
            found = sorted(Path(folder, "ndk").glob("*"), key=lambda path: _numbers(path.name), reverse=True)
            for path in found:
                yield from _ndk(path)


def _ndk(folder: Path) -> Iterator[Tool]:
    try:
        text = (folder / "source.properties").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    revision = re.search(r"^Pkg\.Revision\s*=\s*(\S+)", text, re.MULTILINE)
    if revision is not None:
        yield Tool(NDK, folder.absolute(), revision[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
