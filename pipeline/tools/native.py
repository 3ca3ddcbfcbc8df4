"""Finds what is no single program on PATH: Xcode's compilers, the NDK, drivers, a checkout.

`finder.Finder` asks here for such names. Names are the same on every machine; where something is found is not part of
any key, what it says it is, is.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline import process, settings
from pipeline.action import Tool
from pipeline.errors import SlipwayError
from pipeline.native.source_tree import read_tree
from pipeline.process import state_of

from . import drivers
from .drivers import DRIVERS

Remember = Callable[[list[object], Callable[[], str]], str]
"""Answers a question from memory, or by asking; see `finder.Finder`."""

METAL, SDK, NDK, CHECKOUT = "metal:", "sdk:", "ndk", "checkout:"

NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")
_SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")

XCODE_LINK = Path("/var/db/xcode_select_link")
"""What `xcode-select` switches, unless DEVELOPER_DIR overrules it."""

SECONDS = 60
"""How long a program may take to say its version: Xcode's tools look around when they are first used."""
_LONGEST = 300
"""Characters of what a program says of its version."""


def is_native(name: str) -> bool:
    """Whether a tool's name is one of those that are found here."""
    return name in {NDK, *DRIVERS} or name.startswith((METAL, SDK, CHECKOUT))


def find(name: str, remember: Remember, checkouts: Callable[[str], Path | None]) -> Tool | None:
    """The tool called `metal:iphoneos`, `sdk:macosx`, `ndk` or `checkout:runtime`; None where this machine has none.

    `remember` is the memo of what programs said, `checkouts` gives the directory of a checkout by its name.
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
    question = [name, xcrun, Path(xcrun).stat().st_mtime_ns, *xcode()]
    version = remember(question, partial(_of_xcode, xcrun, sdk, compiler))
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


def _of_xcode(xcrun: str, sdk: str, compiler: str) -> str:
    told = said(xcrun, "-sdk", sdk, compiler, "--version")
    version = said(xcrun, "-sdk", sdk, "--show-sdk-version")
    return f"{told}, {sdk} {version}" if told and version else ""


def said(*command: str | Path) -> str:
    """The first line of a program with a version, or with anything; empty when it fails, as Apple's stand-ins do."""
    try:
        done = process.run(command, check=False, timeout=SECONDS, apart=True)
    except (SlipwayError, OSError):
        return ""
    lines = (done.output.strip() or done.errors.strip()).splitlines() if done.status == 0 else []
    return next(filter(re.compile(r"\d\.\d").search, lines), "".join(lines[:1])).strip()[:_LONGEST]


def xcode() -> list[object]:
    """The state of the Xcode in use: `/usr/bin/cc` and its like are stubs that stay the same when Xcode changes."""
    return [state_of(path) for path in xcode_paths()]


def xcode_paths() -> list[Path]:
    """Files and directories of the Xcode in use, of which one changes whenever it does."""
    if sys.platform != "darwin":
        return []
    developer = Path(settings.of_tools("DEVELOPER_DIR") or XCODE_LINK.resolve())
    return [developer, developer / "usr" / "bin", developer.parent / "version.plist"]


def _ndks() -> Iterator[Tool]:
    """Every NDK at hand, the one that a variable names first, then the newest of Android's SDK."""
    for variable in NDK_VARIABLES:
        if folder := settings.of_tools(variable):
            yield from _ndk(Path(folder))
    for variable in _SDK_VARIABLES:
        if folder := settings.of_tools(variable):
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
