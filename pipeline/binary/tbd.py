"""Writes text stubs (`.tbd`, version 4) of dynamic libraries: the names a library exports, without the library.

`verify` links models against such a stub with `ld64.lld`, so that a reference nobody will define is an error on a
machine without an Apple SDK. (`-undefined dynamic_lookup` would let the same mistake pass in silence.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.errors import FormatError
from pipeline.platforms import APPLE

_PLATFORMS = APPLE.keys()
_PLAIN = re.compile(r"_[A-Za-z0-9_$.]*")  # anything else might be a word that YAML reads as no string


def write_tbd(targets: Iterable[tuple[str, str]], symbols: Iterable[str], install_name: str) -> str:
    """The text of a stub.

    Args:
        targets: (arch, platform) pairs, named as in `ObjectInfo`: `("arm64", "ios-simulator")`.
        symbols: what the library exports, spelt as in Mach-O files (C names with their underscore).
        install_name: the path that images linked against it will look for, e.g. `/usr/lib/libruntime.dylib`.

    Raises:
        FormatError: there is no target, or one on a platform that stubs have no name for.
    """
    targets = tuple(targets)
    unknown = sorted({platform for _, platform in targets} - _PLATFORMS)
    if unknown or not targets:
        raise FormatError(
            f"a stub cannot be for {' and '.join(unknown) or 'no target'}",
            hint=f"use at least one of {', '.join(sorted(_PLATFORMS))}",
        )
    names = f"[ {', '.join(sorted({f'{arch}-{platform}' for arch, platform in targets}))} ]"
    exported = sorted(set(symbols))
    lines = ["--- !tapi-tbd", "tbd-version: 4", f"targets: {names}", f"install-name: {_quoted(install_name)}"]
    if exported:
        lines += ["exports:", f"  - targets: {names}", f"    symbols: [ {', '.join(map(_scalar, exported))} ]"]
    return "\n".join([*lines, "...", ""])


def _scalar(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """A single-quoted YAML scalar."""
    return "'" + text.replace("'", "''") + "'"
