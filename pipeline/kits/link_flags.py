"""Which linker flags keep a model alive, as plain data.

The kits print these flags for the users and the proofs link with the same ones, so that what is proven is what is
shipped.

A model is two objects, and nothing an app writes refers to either: each registers itself in a constructor of its own.
One holds the compiled functions and `<prefix>__tvm_ffi__library_ctx`, the other the blob
`<prefix>__tvm_ffi__library_bin`. An archive link pulls neither, and `-u` on one of them pulls only half a model: the
symbol is there, the model loads, and the first call ends in "Cannot find function". So both are always named.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.binary.object_info import Format as Format
from pipeline.binary.symbols import exported, required_symbols, symbol_name

ANDROID_PAGE_SIZE = 16384
"""Devices with 16 KiB pages refuse libraries whose LOAD segments are aligned to less (required by Google Play)."""

PAGED = frozenset({"arm64", "x86_64"})
"""Architectures whose devices may have such pages."""

RUNTIME_LIBRARIES = ("tvm_ffi", "tvm_runtime")
"""The shared libraries that TVM's own build makes of its runtime."""


def force_load(archive: str, form: Format) -> tuple[str, ...]:
    """Linker flags that take every member of one archive, referred to or not, and of no other archive."""
    if form == "macho":
        return ("-force_load", archive)
    if form == "coff":
        return (f"/WHOLEARCHIVE:{archive}",)
    return ("--whole-archive", archive, "--no-whole-archive")


def shared(library: str, form: Format) -> tuple[str, ...]:
    """Linker flags that have a shared library loaded with the program, whether or not anything refers to it."""
    return (library,) if form in {"macho", "coff"} else ("--push-state", "--no-as-needed", library, "--pop-state")


def keep(prefixes: Iterable[str], form: Format) -> tuple[str, ...]:
    """Linker flags (`-u name` pairs, of Windows `/INCLUDE:name`) that fail the link when half of a model is missing.

    Empty for wasm: wasm-ld takes a member for `-u`, and still drops its constructors.
    """
    if form == "wasm":
        return ()
    names = [symbol_name(symbol, form) for prefix in prefixes for symbol in required_symbols(prefix)]
    if form == "coff":
        return tuple(f"/INCLUDE:{name}" for name in names)
    return tuple(word for name in names for word in ("-u", name))


def exported_symbols_list(prefixes: Iterable[str]) -> str:
    """Text of the file for `-exported_symbols_list` of Apple's linker: one name a line."""
    return "".join(f"{symbol_name(symbol, 'macho')}\n" for prefix in prefixes for symbol in exported(prefix))


def version_script(prefixes: Iterable[str], also: Iterable[str] = ()) -> str:
    """Text of an ELF version script that exports the models' symbols and hides the rest.

    `also` are more names or patterns to export, for instance `Java_*` for a library that is loaded by Java.
    """
    names = [*(symbol for prefix in prefixes for symbol in exported(prefix)), *also]
    return "{\n  global:\n" + "".join(f"    {name};\n" for name in names) + "  local:\n    *;\n};\n"


def page_size(platform: str) -> tuple[str, ...]:
    """Linker flags for the alignment of LOAD segments that a platform asks for."""
    return ("-z", f"max-page-size={ANDROID_PAGE_SIZE}") if platform == "android" else ()


def output(path: Path, cwd: Path | None = None) -> str:
    """How a linker that runs in `cwd` is told what to write, see quirk ELF-14."""
    return os.path.relpath(path, cwd or os.curdir) if "%" in str(path) else str(path)
