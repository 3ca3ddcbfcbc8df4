"""The drivers of Vulkan and OpenCL on this machine, which models on a GPU run with; `native` asks here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pipeline import settings
from pipeline.action import Tool

VULKAN, OPENCL = DRIVERS = ("vulkan", "opencl")

_ICDS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_OPENCL_DRIVERS = Path("/etc/OpenCL/vendors")
_OPENCL_HEADERS = ("/usr/include/CL", "/usr/local/include/CL")
_OPENCL_LOADERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
_RENDERERS = Path("/dev/dri")
_METAL = Path("/System/Library/Frameworks/Metal.framework")


def find(name: str) -> Tool | None:
    """The drivers of one of `DRIVERS`, or None where this machine has none."""
    return _vulkan() if name == VULKAN else _opencl()


def watched(name: str) -> list[Path]:
    """Files and directories of which one changes whenever `find` would answer differently."""
    if name == VULKAN:
        return [*map(Path, _ICDS), _RENDERERS]
    if name == OPENCL:
        headers = [Path(folder) for folder in _OPENCL_HEADERS]
        folders = [_OPENCL_DRIVERS, *headers, *_opencl_loaders()]
        return [*folders, *(folder.parent for folder in (_OPENCL_DRIVERS.parent, *headers))]
    return []


def _vulkan() -> Tool | None:
    """What draws for Vulkan (on a Mac: for Metal): what a variable names, the machine's own, else Mesa's software.

    The path is the file that names the driver, or a directory where the loader may choose.
    """
    if sys.platform == "darwin":
        return Tool(VULKAN, _METAL, "Metal") if _METAL.is_dir() else None
    named = [Path(name) for name in settings.of_tools("VK_DRIVER_FILES").split(os.pathsep) if name]
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
    files = sorted(path for path in _OPENCL_DRIVERS.glob("*.icd") if path.is_file())
    drivers = [path.read_text(errors="replace").strip() for path in files]
    return Tool(OPENCL, _OPENCL_DRIVERS, ", ".join(drivers)) if drivers and headers and loader else None


def _opencl_loaders() -> list[Path]:
    """Where the loader of OpenCL may be: directly, or on Debian by the machine's kind."""
    return [folder for path in map(Path, _OPENCL_LOADERS) for folder in (path, *path.glob("*-linux-gnu*"))]
