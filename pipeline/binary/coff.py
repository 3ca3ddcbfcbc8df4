"""Reads COFF objects, and the 64-bit PE images that a linker makes of them: Windows, x86-64 and ARM64.

`objects.read_object` calls `read_coff`. Layouts and constants are those of Microsoft's "PE Format". An object has no
magic of its own but the number of its processor, so `is_coff` looks at more of the header than that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .object_info import ObjectInfo, Symbol
from .reader import Window, decode_name

_MZ = b"MZ"
_PE = b"PE\0\0"
_WIDE = b"\0\0\xff\xff"
"""Of import objects, and of objects with more sections than 16 bits can count."""

_HEADER = struct.Struct("<2H4x2I2H")  # machine, sections, symbol table, symbols, optional header, characteristics
_SECTION = struct.Struct("<8s4I12xI")  # name, virtual size, address, raw size, raw offset, flags
_SYMBOL = struct.Struct("<8sIhHBB")  # name, value, section, type, storage class, auxiliary records
_AUX_WEAK = struct.Struct("<2I10x")  # the symbol that stands in, how it is searched for
_AUX_SECTION = struct.Struct("<14xB3x")  # which of several COMDATs is taken
_EXPORTS = struct.Struct("<24xI4xI4x")  # names, address of their addresses
_IMPORT = struct.Struct("<12xI4x")  # address of a library's name
_WORD = struct.Struct("<I")
_POINTER = struct.Struct("<Q")

MACHINES = {0x8664: "x86_64", 0xAA64: "aarch64"}
_PE32_PLUS = 0x20B
_IMAGE_DLL = 0x2000
_DIRECTORIES_AT = 108
"""Offset in the optional header of the number of data directories, which follow it: exports, imports, …"""

_COMDAT, _NO_DUPLICATES = 0x1000, 1
_EXTERNAL, _STATIC, _WEAK_EXTERNAL = 2, 3, 105
_UNDEFINED, _DEBUG = 0, -2
_SEARCH_ALIAS = 3

_START_UP = (".CRT$XC", ".CRT$XI", ".ctors")
"""Sections of objects whose entries run before `main`. A linker sorts them by what follows the `$`, into `.CRT`."""


class Section(NamedTuple):
    """A section: its name, where it is in memory and in the file, and its flags."""

    name: str
    virtual_size: int
    address: int
    size: int
    offset: int
    flags: int


class Record(NamedTuple):
    """An entry of the symbol table, without the auxiliary records behind it.

    Attributes:
        at: its offset in the file.
        value: an offset in its section; of a common symbol its size.
        section: from 1; 0 where it is defined elsewhere.
        storage: its storage class.
        aux: offset of its first auxiliary record, None where it has none.
    """

    at: int
    name: str
    value: int
    section: int
    storage: int
    aux: int | None

    @property
    def is_fallback(self) -> bool:
        """Whether it is a weak definition, before `weak_alias` has looked how."""
        return self.storage == _WEAK_EXTERNAL


@dataclass(frozen=True, slots=True)
class File:
    """The bytes of an object or an image, and the tables in them."""

    window: Window
    machine: int
    flags: int
    optional: int
    sections: tuple[Section, ...]
    strings_at: int
    symbols: int

    def records(self) -> Iterator[Record]:
        """The symbol table. Its size and that of the table of names have been checked."""
        strings = Window(self.window.data[self.strings_at :], self.window.where)
        table = self.strings_at - _SYMBOL.size * self.symbols
        index = 0
        while index < self.symbols:
            at = table + _SYMBOL.size * index
            raw, value, section, _type, storage, count = _SYMBOL.unpack_from(self.window.data, at)
            index += 1 + count
            if index > self.symbols:
                raise self.window.bad("a symbol's auxiliary records go beyond the symbol table")
            if section > len(self.sections):
                raise self.window.bad(f"a symbol is in section {section} of {len(self.sections)}")
            yield Record(at, _name(raw, strings), value, section, storage, at + _SYMBOL.size if count else None)


def is_coff(data: bytes) -> bool:
    """Whether the first bytes are those of a COFF object or a PE image. Says nothing about the rest."""
    return data.startswith((_MZ, _WIDE)) or is_coff_object(data)


def is_coff_object(data: bytes) -> bool:
    """The same of an object alone."""
    if len(data) < _HEADER.size:
        return False
    machine, _sections, _table, _symbols, optional, _flags = _HEADER.unpack_from(data)
    return machine in MACHINES and optional == 0


def read_coff(data: bytes, name: str) -> ObjectInfo:
    """Read an object, a DLL or a program.

    Of an image the exports and the imported libraries are told, and the constructors only where the linker has kept the
    section `.CRT` to itself: the C runtime has it merged into `.rdata`, where nothing tells its entries.

    Raises:
        FormatError: it is malformed, 32-bit, an import object, or for another processor.
    """
    window = Window(data, name)
    if data.startswith(_MZ):
        return _read_image(open_image(window))
    file = open_object(window)
    defined, undefined = _symbols(file)
    entries = sum(section.size // _POINTER.size for section in file.sections if section.name.startswith(_START_UP))
    return ObjectInfo(
        name=name,
        format="coff",
        arch=MACHINES[file.machine],
        kind="object",
        defined=defined,
        undefined=undefined,
        constructors=entries,
    )


def open_object(window: Window) -> File:
    """Read the header and the sections of an object.

    Raises:
        FormatError: as `read_coff`.
    """
    if window.data.startswith(_WIDE):
        raise window.bad(
            "is an import object, or one with more than 65,279 sections", hint="compile without /bigobj, or split it"
        )
    return _open(window, 0)


def open_image(window: Window) -> File:
    """Read the headers and the sections of an image.

    Raises:
        FormatError: as `read_coff`.
    """
    (at,) = window.unpack(_WORD, 60, "the place of the PE header")
    if window.cut(at, len(_PE), "the PE header") != _PE:
        raise window.bad("is a program for MS-DOS", hint="give what a linker for 64-bit Windows wrote")
    file = _open(window, at + len(_PE))
    if window.cut(file.optional, 2, "the optional header") != _PE32_PLUS.to_bytes(2, "little"):
        raise window.bad("is no 64-bit PE image", hint="give what a linker for 64-bit Windows wrote")
    return file


def _open(window: Window, at: int) -> File:
    machine, count, table, symbols, optional, flags = window.unpack(_HEADER, at, "the COFF header")
    if machine not in MACHINES:
        raise window.bad(f"is for an unknown processor (machine {machine:#x})", hint="compile for x86_64 or arm64")
    strings_at = table + _SYMBOL.size * symbols
    strings = Window(b"", window.where)
    if table:
        (size,) = window.unpack(_WORD, strings_at, "the size of the table of names")
        strings = Window(window.cut(strings_at, max(size, _WORD.size), "the table of names"), window.where)
    elif symbols:
        raise window.bad(f"has {symbols} symbols and no symbol table")
    sections_at = at + _HEADER.size + optional
    rows = window.table(_SECTION, sections_at, count, "the section table")
    sections = tuple(_section(window, strings, row) for row in rows)
    return File(window, machine, flags, at + _HEADER.size, sections, strings_at, symbols)


def _section(window: Window, strings: Window, row: tuple[int, ...]) -> Section:
    raw, virtual_size, address, size, offset, flags = row
    assert isinstance(raw, bytes)  # noqa: S101 - as `_SECTION` says, which a type cannot
    if offset and offset + size > len(window):
        raise window.bad(f"a section ({size} bytes at {offset}) goes beyond the end ({len(window)} bytes)")
    return Section(_name(raw, strings), virtual_size, address, size, offset, flags)


def _name(raw: bytes, strings: Window) -> str:
    """A name of at most eight bytes, or its place in the table of names: a symbol's in binary, a section's as text."""
    if raw.startswith(b"\0\0\0\0"):
        return strings.text(int.from_bytes(raw[4:], "little"), "a symbol's name") if any(raw) else ""
    short = raw.rstrip(b"\0")
    if short[:1] == b"/" and short[1:].isdigit():
        return strings.text(int(short[1:]), "a section's name")
    return decode_name(short)


def _symbols(file: File) -> tuple[tuple[Symbol, ...], tuple[Symbol, ...]]:
    """(defined, undefined) among the external symbols."""
    shared = _shared_sections(file)
    defined: list[Symbol] = []
    undefined: list[Symbol] = []
    for record in file.records():
        if record.is_fallback:
            _, search = weak_alias(file, record)
            (defined if search == _SEARCH_ALIAS else undefined).append(Symbol(record.name, weak=True))
        elif record.storage != _EXTERNAL or record.section == _DEBUG:
            continue
        elif record.section == _UNDEFINED and not record.value:
            undefined.append(Symbol(record.name))
        else:  # without a section it is a common symbol: its size stands where an address would
            defined.append(Symbol(record.name, weak=record.section == _UNDEFINED or record.section in shared))
    return tuple(defined), tuple(undefined)


def weak_alias(file: File, record: Record) -> tuple[int, int]:
    """Of a weak symbol: the index of the one that stands in for it, and how it is searched for.

    Raises:
        FormatError: it does not say.
    """
    if record.aux is None:
        raise file.window.bad(f"does not say what stands in for the weak symbol {record.name}")
    index, search = _AUX_WEAK.unpack_from(file.window.data, record.aux)
    if index >= file.symbols:
        raise file.window.bad(f"symbol {index} of {file.symbols} stands in for the weak symbol {record.name}")
    return index, search


def _shared_sections(file: File) -> frozenset[int]:
    """Numbers of the sections that may be there once more in other objects: the linker takes one of them."""
    found: dict[int, bool] = {}
    for record in file.records():
        if record.storage == _STATIC and record.aux is not None and record.section > 0:
            (selection,) = _AUX_SECTION.unpack_from(file.window.data, record.aux)
            if file.sections[record.section - 1].flags & _COMDAT:
                found.setdefault(record.section, selection != _NO_DUPLICATES)
    return frozenset(number for number, may in found.items() if may)


def _read_image(file: File) -> ObjectInfo:
    crt = next((section for section in file.sections if section.name == ".CRT"), None)
    data = b"" if crt is None else file.window.cut(crt.offset, min(crt.size, crt.virtual_size), "the start-up table")
    entries = [entry for (entry,) in _POINTER.iter_unpack(data[: len(data) // 8 * 8]) if entry]
    return ObjectInfo(
        name=file.window.where,
        format="coff",
        arch=MACHINES[file.machine],
        kind="dylib" if file.flags & _IMAGE_DLL else "executable",
        defined=tuple(Symbol(name) for name in _exports(file)),
        constructors=len(entries),
        needed=tuple(_imports(file)),
    )


def _directory(file: File, number: int) -> int:
    """Offset in the file of a data directory; 0 where the image has none."""
    at = file.optional + _DIRECTORIES_AT
    (count,) = file.window.unpack(_WORD, at, "the number of data directories")
    if number >= count:
        return 0
    (address,) = file.window.unpack(_WORD, at + 4 + 8 * number, "a data directory")
    return _offset(file, address) if address else 0


def _offset(file: File, address: int) -> int:
    """Where in the file is what will be at an address, counted from the image's start."""
    for section in file.sections:
        if 0 <= address - section.address < section.size:
            return section.offset + address - section.address
    raise file.window.bad(f"nothing of the file will be at address {address:#x}")


def _exports(file: File) -> Iterator[str]:
    if at := _directory(file, 0):
        count, names = file.window.unpack(_EXPORTS, at, "the export directory")
        for (address,) in file.window.table(_WORD, _offset(file, names) if count else 0, count, "the exported names"):
            yield file.window.text(_offset(file, address), "an exported name")


def _imports(file: File) -> Iterator[str]:
    at = _directory(file, 1)
    while at:
        (address,) = file.window.unpack(_IMPORT, at, "the import directory")
        if not address:
            return
        yield file.window.text(_offset(file, address), "the name of a needed library")
        at += _IMPORT.size
