"""Writes text stubs (`.tbd`, version 4) of dynamic libraries: the names a library exports, without the library.

`verify` links models against such a stub with `ld64.lld`, so that a reference nobody will define is an error on a
machine without an Apple SDK. (`-undefined dynamic_lookup` would let the same mistake pass in silence.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .symbols import symbol_name

BINDER = "dyld_stub_binder"
"""A name without an underscore even in Mach-O, which older linkers ask for in every library."""

_PLAIN = re.compile(r"_[A-Za-z0-9_$.]*")  # anything else might be a word that YAML reads as no string


def write_tbd(arch: str, platform: str, names: Iterable[str], install_name: str) -> str:
    """The text of a stub for an architecture (`arm64`) of a platform (`ios-simulator`).

    The names that the library exports are spelt as in C; BINDER is spelt so in Mach-O files, too. Images linked against
    it will look for `install_name`, e.g. `/usr/lib/libruntime.dylib`.
    """
    exported = sorted({name if name == BINDER else symbol_name(name, "macho") for name in names})
    targets = f"targets: [ {arch}-{platform} ]"
    lines = ["--- !tapi-tbd", "tbd-version: 4", targets, f"install-name: {_quoted(install_name)}"]
    if exported:
        lines += ["exports:", f"  - {targets}", f"    symbols: [ {', '.join(map(_scalar, exported))} ]"]
    return "\n".join([*lines, "...", ""])


def _scalar(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """A single-quoted YAML scalar."""
    return "'" + text.replace("'", "''") + "'"
