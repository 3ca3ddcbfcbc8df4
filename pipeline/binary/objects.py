"""Reads an object, a library or a program of any format: the door to `macho`, `elf`, `wasm` and `coff`.

Steps, proofs and `apps` call `read_object`. Archives and fat files are opened by `ar` and `fat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.errors import FormatError

from . import coff, elf, macho, wasm
from .object_info import LoadedSection, ObjectInfo

_READERS: dict[bytes, Callable[[bytes, str], ObjectInfo]] = {
    macho.MAGIC: macho.read_macho,
    **dict.fromkeys(macho.OTHER_MAGICS, macho.read_macho),  # which refuses them and says why
    elf.MAGIC: elf.read_elf,
    wasm.MAGIC: wasm.read_wasm,
}

_BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")
"""LLVM's, bare and in its wrapper."""

_NO_OBJECTS = {
    b"!<ar": ("is an archive, not an object", "read its members one by one"),
    b"!<th": ("is a thin archive, not an object", "make a real one: ar rcsD, without T"),
    b"\xca\xfe\xba\xbe": ("is a fat file, not an object", "read its slices one by one"),
    b"\xca\xfe\xba\xbf": ("is a fat file, not an object", "read its slices one by one"),
    **dict.fromkeys(
        _BITCODE, ("is LLVM bitcode, not an object", "compile to machine code (no -flto, no object format `bc`)")
    ),
}


def is_object(data: bytes) -> bool:
    """Whether the first bytes are those of Mach-O, ELF, WebAssembly or COFF. Says nothing about the rest."""
    return data[:4] in _READERS or coff.is_coff(data)


def is_bitcode(data: bytes) -> bool:
    """Whether this is LLVM bitcode, whose symbols only LLVM of the same age or younger can list."""
    return data[:4] in _BITCODE


def read_object(data: bytes, name: str) -> ObjectInfo:
    """Read an object file, a dynamic library or a program.

    Raises:
        FormatError: it is malformed, or of no format known here.
    """
    reader = _READERS.get(data[:4]) or (coff.read_coff if coff.is_coff(data) else None)
    if reader is None:
        unknown = ("is neither Mach-O nor ELF nor WebAssembly nor COFF", "give what a compiler or a linker wrote")
        what, hint = _NO_OBJECTS.get(data[:4], unknown)
        raise FormatError(what, where=name, hint=hint)
    return reader(data, name)


def loaded_sections(data: bytes, name: str) -> Iterator[LoadedSection]:
    """What of a Mach-O or ELF file is in memory when it runs: for looking for strings that outlive a strip.

    Symbol tables, debug entries and string tables are left out: a name in one of those proves nothing about the code.
    Sections share bytes only so far as linkers have them do it: a file may name its bytes a thousand times.

    Raises:
        FormatError: it is malformed, or of another format.
    """
    reader = macho if data.startswith(macho.MAGIC) else elf if data.startswith(elf.MAGIC) else None
    hint = "give what a compiler or a linker wrote"
    if reader is None:
        raise FormatError("is neither Mach-O nor ELF", where=name, hint=hint)
    left = 4 * len(data)
    for section in reader.loaded_sections(data, name):
        left -= len(section.data)
        if left < 0:
            raise FormatError("its sections overlap", where=name, hint=hint)
        yield section
