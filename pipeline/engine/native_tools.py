"""Finds what is no single program on PATH: Xcode's compilers, the NDK, drivers of Vulkan and OpenCL, a checkout.

`tools.Finder` asks here for such names. Names are the same on every machine; where something is found is not part of
any key, what it says it is, is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline.action import Tool
from pipeline.native.source_tree import read_tree

Remember = Callable[[list[object], Callable[[], str]], str]
"""A stat_cache: question, and how to find the answer."""

Ask = Callable[..., str]
"""Runs a program; the first line it says, empty where it fails."""

METAL, SDK, NDK, CHECKOUT, VULKAN, OPENCL = "metal:", "sdk:", "ndk", "checkout:", "vulkan", "opencl"

NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")
_ICDS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_OPENCL_DRIVERS = Path("/etc/OpenCL/vendors")
_OPENCL_HEADERS = ("/usr/include/CL", "/usr/local/include/CL")
_OPENCL_LOADERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
_RENDERERS = Path("/dev/dri")
_METAL = Path("/System/Library/Frameworks/Metal.framework")
_SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")


def is_native(name: str) -> bool:
    """Whether a tool's name is one of those that are found here."""
    return name in {NDK, VULKAN, OPENCL} or name.startswith((METAL, SDK, CHECKOUT))


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
    if name == VULKAN:
        return _vulkan()
    if name == OPENCL:
        return _opencl()
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
    if name == VULKAN:
        return [*map(Path, _ICDS), _RENDERERS]
    if name == OPENCL:
        headers = [Path(folder) for folder in _OPENCL_HEADERS]
        folders = [_OPENCL_DRIVERS, *headers, *_opencl_loaders()]
        return [*folders, *(folder.parent for folder in (_OPENCL_DRIVERS.parent, *headers))]
    return []


def _of_xcode(ask: Ask, xcrun: str, sdk: str, compiler: str) -> str:
    said = ask(xcrun, "-sdk", sdk, compiler, "--version")
    version = ask(xcrun, "-sdk", sdk, "--show-sdk-version")
    return f"{said}, {sdk} {version}" if said and version else ""


def _vulkan() -> Tool | None:
    """What draws for Vulkan (on a Mac: for Metal): what a variable names, the machine's own, else Mesa's software.

    The path is the file that names the driver, or a directory where the loader may choose.
    """
    if sys.platform == "darwin":
        return Tool(VULKAN, _METAL, "Metal") if _METAL.is_dir() else None
    named = [Path(name) for name in os.environ.get("VK_DRIVER_FILES", "").split(os.pathsep) if name]
    found = named or sorted(path for folder in _ICDS for path in Path(folder).glob("*.json"))
    if not any(_RENDERERS.glob("renderD*")) and not named:
        found = [path for path in found if path.name.startswith("lvp_")][:1]  # no other has anything to draw with
    version = ", ".join(filter(None, map(_driver, found)))
    return Tool(VULKAN, found[0] if len(found) == 1 else found[0].parent, version) if version else None


def _driver(path: Path) -> str:
    """A driver by name and version of Vulkan, whose last part changes with releases of Mesa; empty for no driver."""
    try:
        icd = json.loads(path.read_text(encoding="utf-8"))["ICD"]
        return f"{path.stem} {icd['api_version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _opencl() -> Tool | None:
    """The drivers that OpenCL's loader finds, where that and its headers are there to compile with."""
    headers = any(Path(folder, "opencl.h").is_file() for folder in _OPENCL_HEADERS)
    loader = any((folder / "libOpenCL.so").exists() for folder in _opencl_loaders())
    drivers = [path.read_text(errors="replace").strip() for path in sorted(_OPENCL_DRIVERS.glob("*.icd"))]
    return Tool(OPENCL, _OPENCL_DRIVERS, ", ".join(drivers)) if drivers and headers and loader else None


def _opencl_loaders() -> list[Path]:
    """Where the loader of OpenCL may be: directly, or on Debian by the machine's kind."""
    return [folder for path in map(Path, _OPENCL_LOADERS) for folder in (path, *path.glob("*-linux-gnu*"))]


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
        text = (folder / "source.properties").read_text(encoding="utf-8")
    except OSError:
        return
    revision = re.search(r"^Pkg\.Revision\s*=\s*(\S+)", text, re.MULTILINE)
    if revision is not None:
        yield Tool(NDK, folder.absolute(), revision[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
