"""Reads little-endian ELF, 32 and 64 bit: objects, shared objects, programs.

`objects.read_object` calls `read_elf`. Layouts and constants are those of the System V ABI (`elf.h`). Everything but
the alignment is read from sections, not from segments: what a linker wrote has them, unless someone took them off on
purpose.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .object_info import Kind, LoadedSection, ObjectInfo, Symbol
from .reader import Window

MAGIC = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class _Layouts:
    """The records of one word size. Fields nobody reads here are padding."""

    pointer: int
    header: struct.Struct  # type, machine, phoff, shoff, phentsize, phnum, shentsize, shnum, shstrndx
    section: struct.Struct  # name, type, flags, offset, size, link
    segment: struct.Struct  # type, align
    symbol: struct.Struct  # name, info, shndx
    dynamic: struct.Struct  # tag, value


_LAYOUTS = {
    1: _Layouts(
        pointer=4,
        header=struct.Struct("<16x2H8x2I6x5H"),
        section=struct.Struct("<3I4x3I12x"),
        segment=struct.Struct("<I24xI"),
        symbol=struct.Struct("<I8xBxH"),
        dynamic=struct.Struct("<2I"),
    ),
    2: _Layouts(
        pointer=8,
        header=struct.Struct("<16x2H12x2Q6x5H"),
        section=struct.Struct("<2IQ8x2QI20x"),
        segment=struct.Struct("<I44xQ"),
        symbol=struct.Struct("<IBxH16x"),
        dynamic=struct.Struct("<2Q"),
    ),
}

_LITTLE_ENDIAN = 1
_MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_ET_REL, _ET_EXEC, _ET_DYN = 1, 2, 3

_SHT_SYMTAB, _SHT_DYNAMIC, _SHT_DYNSYM, _SHT_INIT_ARRAY = 2, 6, 11, 14
_SHT_PROGBITS = 1
_SHF_ALLOC, _SHF_STRINGS = 0x2, 0x20
_SHN_XINDEX = 0xFFFF
_PT_LOAD, _PT_INTERP = 1, 3
_DT_NEEDED, _DT_SONAME, _DT_FLAGS_1 = 1, 14, 0x6FFFFFFB
_DF_1_PIE = 0x08000000

_STB_LOCAL, _STB_WEAK, _STB_GNU_UNIQUE = 0, 2, 10
_STT_SECTION, _STT_FILE, _STT_COMMON = 3, 4, 5
_SHN_UNDEF, _SHN_COMMON = 0, 0xFFF2


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    offset: int
    size: int
    link: int


class _Segment(NamedTuple):
    type: int
    align: int


@dataclass(frozen=True, slots=True)
class _File:
    """The bytes and the two tables that say where everything is."""

    window: Window
    layouts: _Layouts
    type: int
    machine: int
    sections: tuple[_Section, ...]
    segments: tuple[_Segment, ...]
    names_index: int

    def first(self, *types: int) -> _Section | None:
        """The first section of the first of these types that has one."""
        return next((s for wanted in types for s in self.sections if s.type == wanted), None)

    def strings(self, index: int, what: str) -> Window:
        """The string table in section `index`."""
        if not 0 < index < len(self.sections):
            raise self.window.bad(f"{what} point to section {index} of {len(self.sections)}")
        section = self.sections[index]
        return Window(self.window.cut(section.offset, section.size, what), self.window.where)


def read_elf(data: bytes, name: str) -> ObjectInfo:
    """Read an ELF file.

    Of a shared object the dynamic symbols are told (what a loader sees); of an object or a program the full table,
    where it was not stripped.

    Raises:
        FormatError: it is malformed, big-endian, without sections, or none of object, shared object, program.
    """
    file = _open(Window(data, name))
    needed, soname, flags = _dynamic(file)
    kind = _kind(file, has_soname=soname, flags=flags)
    table = file.first(_SHT_DYNSYM) if kind == "dylib" else file.first(_SHT_SYMTAB, _SHT_DYNSYM)
    defined, undefined = _symbols(file, table) if table else ((), ())
    loads = [segment.align for segment in file.segments if segment.type == _PT_LOAD]
    return ObjectInfo(
        name=name,
        format="elf",
        arch=_MACHINES.get(file.machine, f"elf-machine-{file.machine}"),
        kind=kind,
        defined=defined,
        undefined=undefined,
        constructors=_constructors(file),
        needed=needed,
        load_alignment=min(loads) if loads and kind != "object" else None,
    )


def loaded_sections(data: bytes, name: str) -> Iterator[LoadedSection]:
    """What a linked image or an object brings into memory: code, constants, data; no symbols, no debug entries.

    Raises:
        FormatError: as `read_elf`.
    """
    file = _open(Window(data, name))
    names = file.strings(file.names_index, "the section names")
    for section in file.sections:
        if section.type == _SHT_PROGBITS and section.flags & _SHF_ALLOC:
            content = file.window.cut(section.offset, section.size, "a section")
            label = names.text(section.name, "a section's name")
            # A linker merges literals into `.rodata`, and some flag all of it as literals then.
            yield LoadedSection(label, content, bool(section.flags & _SHF_STRINGS) and label != ".rodata")


def _open(window: Window) -> _File:
    """Read the header, the section table and the segment table."""
    if window.data[:4] != MAGIC:
        raise window.bad("is not an ELF file", hint="give an object, a shared object or a program for Linux or Android")
    word_size, endianness = window.cut(4, 2, "the ELF identification")
    layouts = _LAYOUTS.get(word_size)
    if layouts is None or endianness != _LITTLE_ENDIAN:
        raise window.bad("is not a little-endian ELF file of 32 or 64 bit", hint="compile for aarch64 or x86_64")
    header = window.unpack(layouts.header, 0, "the ELF header")
    type_, machine, segments_at, sections_at, segment_size, segment_count, section_size, section_count, names = header
    if not sections_at:
        raise window.bad("has no section table, so its symbols cannot be read", hint="do not strip the section headers")
    if section_size != layouts.section.size:
        raise window.bad(f"says a section header has {section_size} bytes, not {layouts.section.size}")
    if segment_count and segment_size != layouts.segment.size:
        raise window.bad(f"says a program header has {segment_size} bytes, not {layouts.segment.size}")
    # Counts that do not fit 16 bits stand in the otherwise unused first section.
    first = _Section(*window.unpack(layouts.section, sections_at, "the first section header"))
    section_count = section_count or first.size
    names = first.link if names == _SHN_XINDEX else names
    sections = map(_Section._make, window.table(layouts.section, sections_at, section_count, "the section table"))
    segments = map(_Segment._make, window.table(layouts.segment, segments_at, segment_count, "the program headers"))
    return _File(window, layouts, type_, machine, tuple(sections), tuple(segments), names)


def _kind(file: _File, *, has_soname: bool, flags: int) -> Kind:
    """A position-independent program is of the same type as a shared object; only its flags tell."""
    if file.type == _ET_REL:
        return "object"
    if file.type == _ET_EXEC:
        return "executable"
    if file.type == _ET_DYN:
        interpreted = any(segment.type == _PT_INTERP for segment in file.segments)
        return "executable" if flags & _DF_1_PIE or (interpreted and not has_soname) else "dylib"
    raise file.window.bad(
        f"is an ELF file of type {file.type}, which is no object, shared object or program",
        hint="give what the compiler or the linker wrote",
    )


def _dynamic(file: _File) -> tuple[tuple[str, ...], bool, int]:
    """(names of DT_NEEDED, whether there is a DT_SONAME, DT_FLAGS_1)."""
    section = file.first(_SHT_DYNAMIC)
    if section is None:
        return (), False, 0
    strings = file.strings(section.link, "the dynamic strings")
    needed: list[str] = []
    has_soname, flags = False, 0
    for tag, value in _records(file, section, file.layouts.dynamic, "the dynamic section"):
        if tag == _DT_NEEDED:
            needed.append(strings.text(value, "the name of a needed library"))
        elif tag == _DT_SONAME:
            has_soname = True
        elif tag == _DT_FLAGS_1:
            flags = value
    return tuple(needed), has_soname, flags


def _symbols(file: _File, section: _Section) -> tuple[tuple[Symbol, ...], tuple[Symbol, ...]]:
    """(defined, undefined) among the global symbols of a table."""
    records = _records(file, section, file.layouts.symbol, "the symbol table")
    strings = file.strings(section.link, "the symbol names")
    defined: list[Symbol] = []
    undefined: list[Symbol] = []
    next(records, None)  # the first entry is always the null symbol
    for at, info, index in records:
        binding, type_ = info >> 4, info & 0xF
        if binding == _STB_LOCAL or type_ in (_STT_FILE, _STT_SECTION):
            continue
        name = strings.text(at, "a symbol's name")
        if index == _SHN_UNDEF:
            undefined.append(Symbol(name, weak=binding == _STB_WEAK))
        else:
            common = index == _SHN_COMMON or type_ == _STT_COMMON
            defined.append(Symbol(name, weak=common or binding in (_STB_WEAK, _STB_GNU_UNIQUE)))
    return tuple(defined), tuple(undefined)


def _constructors(file: _File) -> int:
    """Entries of `.init_array` and of its forerunner `.ctors`.

    A linker may add entries of its own: the C runtime's `frame_dummy` is one in most shared objects.
    """
    names = file.strings(file.names_index, "the section names") if file.names_index else None
    count = 0
    for section in file.sections:
        name = names.text(section.name, "a section's name") if names and section.name else ""
        if section.type == _SHT_INIT_ARRAY or name == ".ctors" or name.startswith(".ctors."):
            count += section.size // file.layouts.pointer
    return count


def _records(file: _File, section: _Section, layout: struct.Struct, what: str) -> Iterator[Sequence[int]]:
    """The whole records of a table section."""
    return file.window.table(layout, section.offset, section.size // layout.size, what)
