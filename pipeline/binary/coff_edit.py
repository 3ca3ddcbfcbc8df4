"""Writes COFF: objects whose weak definitions are their own, and an object that stands for libraries.

`merge` calls `own_weak_definitions`, the proofs link against a `stub_object`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .coff import open_object
from .reader import Window, encode_name

_SIZE = struct.Struct("<I")
_NAME = struct.Struct("<2I")  # 0, and a place in the table of names
_STUBS = {"x86_64": (0x8664, b"\xc3"), "arm64": (0xAA64, b"\xc0\x03\x5f\xd6")}
"""Architecture -> its number, and a function that returns."""


def own_weak_definitions(data: bytes, prefix: str, where: str) -> bytes:
    """An object whose weak definitions have names that end in its model's prefix; its own references follow by number.

    ELF and Mach-O let several objects have a weak definition of one name, and the linker takes any. COFF has no such
    thing: a weak symbol is a fallback, and `link.exe` and `lld-link` refuse a second one (see quirk COFF-1). TVM puts
    the same helpers into every model. A name that ends in the prefix already stays.

    Raises:
        FormatError: it is malformed.
    """
    file, ending = open_object(Window(data, where)), f".{prefix}"
    found = [record for record in file.records() if record.is_fallback and not record.name.endswith(ending)]
    if not found:
        return data
    (size,) = _SIZE.unpack_from(data, file.strings_at)
    size = max(size, _SIZE.size)
    end = file.strings_at + size
    changed, names = bytearray(data), bytearray()
    for record in found:
        _NAME.pack_into(changed, record.at, 0, size + len(names))
        names += encode_name(record.name + ending) + b"\0"
    _SIZE.pack_into(changed, file.strings_at, size + len(names))
    return bytes(changed[:end] + names + changed[end:])


def stub_object(arch: str, names: Iterable[str]) -> bytes:
    """An object for `x86_64` or `arm64` that defines the given C names, all as one function that returns.

    It is what a linker needs of a library.
    """
    machine, code = _STUBS[arch]
    table, strings = bytearray(), bytearray()
    count = 0
    for name in sorted(set(names)):
        table += _NAME.pack(0, _SIZE.size + len(strings)) + struct.pack("<IhHBB", 0, 1, 0x20, 2, 0)
        strings += encode_name(name) + b"\0"
        count += 1
    code_at = 20 + 40
    header = struct.pack("<2H3I2H", machine, 1, 0, code_at + len(code), count, 0, 0)
    section = struct.pack("<8s6I2HI", b".text", 0, 0, len(code), code_at, 0, 0, 0, 0, 0x60300020)
    return header + section + code + bytes(table) + _SIZE.pack(_SIZE.size + len(strings)) + bytes(strings)
