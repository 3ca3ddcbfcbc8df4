"""Reads 64-bit little-endian Mach-O: objects, dynamic libraries, programs.

`objects.read_object` calls `read_macho`; `fat` asks `read_header` for the processor. Layouts and constants are those of
Apple's public headers `mach-o/loader.h`, `mach-o/nlist.h` and `mach/machine.h`. 32-bit files are refused: no system
that TVM compiles for loads them any more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .object_info import Kind, LoadedSection, ObjectInfo, Symbol
from .reader import LONGEST_NAME, Cursor, Window, decode_name

MAGIC = b"\xcf\xfa\xed\xfe"
"""MH_MAGIC_64 as a little-endian machine writes it."""
OTHER_MAGICS = (b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf")
"""32-bit and big-endian files: Mach-O, but none of ours."""

_HEADER = struct.Struct("<4s7I")
_COMMAND = struct.Struct("<2I")
_SEGMENT = struct.Struct("<8x16s4Q4I")
_SECTION = struct.Struct("<16s16s8xQI12xI12x")
_SYMTAB = struct.Struct("<8x4I")
_BUILD_VERSION = struct.Struct("<8x2I")
_VERSION_MIN = struct.Struct("<8xI")
_DYLIB = struct.Struct("<8xI")
_NLIST = struct.Struct("<IBBHQ")
_ENCRYPTION = struct.Struct("<16xI")
_DYLD_INFO = struct.Struct("<40x2I")
_LINKEDIT_DATA = struct.Struct("<8x2I")

_CPU_ARM64, _CPU_X86_64 = 0x0100000C, 0x01000007
_ARCHES = {_CPU_ARM64: "arm64", _CPU_X86_64: "x86_64"}
_SPECIAL_ARCHES = {(_CPU_ARM64, 2): "arm64e", (_CPU_X86_64, 8): "x86_64h"}
_SUBTYPE_CAPABILITIES = 0xFF000000

_KINDS: dict[int, Kind] = {1: "object", 2: "executable", 6: "dylib", 8: "dylib"}  # MH_BUNDLE is loaded like a dylib

_LC_SYMTAB, _LC_SEGMENT_64, _LC_ENCRYPTION_INFO_64, _LC_BUILD_VERSION = 0x2, 0x19, 0x2C, 0x32
_LC_DYLIBS = {0xC, 0x20, 0x80000018, 0x8000001F, 0x80000023}  # load, lazy, weak, re-export, upward
_LC_DYLD_INFO = {0x22, 0x80000022}
_LC_DYLD_EXPORTS_TRIE = 0x80000033
_LC_VERSION_MIN = {0x24: "macos", 0x25: "ios", 0x2F: "tvos", 0x30: "watchos"}
_PLATFORMS = {
    1: "macos", 2: "ios", 3: "tvos", 4: "watchos", 5: "bridgeos", 6: "maccatalyst", 7: "ios-simulator",
    8: "tvos-simulator", 9: "watchos-simulator", 10: "driverkit", 11: "xros", 12: "xros-simulator",
}  # fmt: skip

_SECTION_TYPE = 0xFF
_MOD_INIT_FUNC_POINTERS, _INIT_FUNC_OFFSETS = 0x9, 0x16
_CSTRING_LITERALS = 0x2
_WITHOUT_BYTES = {0x1, 0xC, 0x12}  # zero-filled ones, of which the file holds nothing

_N_STAB, _N_TYPE, _N_EXT = 0xE0, 0x0E, 0x01
_N_UNDF, _N_PBUD = 0x0, 0xC
_N_WEAK_REF, _N_WEAK_DEF = 0x40, 0x80


class _Section(NamedTuple):
    name: bytes
    segment: bytes
    size: int
    offset: int
    flags: int

    @property
    def type(self) -> int:
        return self.flags & _SECTION_TYPE


@dataclass(frozen=True, slots=True)
class MachHeader:
    """The processor and the kind of file; `cpu` and `subtype` are the numbers a fat header repeats."""

    cpu: int
    subtype: int
    arch: str
    kind: Kind
    commands: int
    commands_size: int


def arch_name(cpu: int, subtype: int) -> str | None:
    """How triples spell a processor, from the two numbers of a Mach-O or fat header; None for one not known here."""
    return _SPECIAL_ARCHES.get((cpu, subtype & ~_SUBTYPE_CAPABILITIES)) or _ARCHES.get(cpu)


def read_header(data: bytes, name: str) -> MachHeader:
    """Read the first 32 bytes.

    Raises:
        FormatError: not a 64-bit little-endian Mach-O file of a kind and a processor known here.
    """
    window = Window(data, name)
    if data[:4] in OTHER_MAGICS:
        raise window.bad(
            "is a 32-bit or big-endian Mach-O file", hint="compile for arm64 or x86_64: nothing else is loaded today"
        )
    if data[:4] != MAGIC:
        raise window.bad("is not a Mach-O file", hint="give an object, a library or a program for an Apple system")
    _, cpu, subtype, filetype, count, size, _flags, _reserved = window.unpack(_HEADER, 0, "the Mach-O header")
    arch = arch_name(cpu, subtype)
    if arch is None:
        raise window.bad(f"is for an unknown processor (cputype {cpu:#x})", hint="compile for arm64 or x86_64")
    kind = _KINDS.get(filetype)
    if kind is None:
        raise window.bad(
            f"is a Mach-O file of type {filetype}, which is no object, dynamic library or program",
            hint="give what the compiler or the linker wrote",
        )
    return MachHeader(cpu, subtype, arch, kind, count, size)


def read_macho(data: bytes, name: str) -> ObjectInfo:
    """Read a Mach-O file, or one slice of a fat file.

    Raises:
        FormatError: it is malformed, 32-bit, big-endian, or none of object, dynamic library, program.
    """
    window = Window(data, name)
    header = read_header(data, name)
    platform: tuple[str, str] | None = None
    defined: list[Symbol] = []
    undefined: list[Symbol] = []
    needed: list[str] = []
    constructors = 0
    for command, offset, size in load_commands(window, header):
        if command == _LC_SEGMENT_64:
            constructors += _constructors(window, offset, size)
        elif command == _LC_SYMTAB:
            _symbols(window, offset, defined, undefined)
        elif command == _LC_BUILD_VERSION:
            number, version = window.unpack(_BUILD_VERSION, offset, "LC_BUILD_VERSION")
            platform = platform or (_PLATFORMS.get(number, f"platform-{number}"), _version(version))
        elif command in _LC_VERSION_MIN:
            (version,) = window.unpack(_VERSION_MIN, offset, "LC_VERSION_MIN")
            platform = platform or (_before_build_version(_LC_VERSION_MIN[command], header.arch), _version(version))
        elif command in _LC_DYLIBS:
            (at,) = window.unpack(_DYLIB, offset, "a dylib command")
            body = Window(window.cut(offset, size, "a dylib command") + b"\0", name)
            needed.append(body.text(at, "the name of a needed library"))
    return ObjectInfo(
        name=name,
        format="macho",
        arch=header.arch,
        kind=header.kind,
        platform=platform[0] if platform else None,
        minimum_os=platform[1] if platform else None,
        defined=tuple(defined),
        undefined=tuple(undefined),
        constructors=constructors,
        needed=tuple(needed),
    )


def load_commands(window: Window, header: MachHeader) -> Iterator[tuple[int, int, int]]:
    """(command, offset, size) of every load command.

    Raises:
        FormatError: while iterating, at a command that cannot be.
    """
    offset, end = _HEADER.size, _HEADER.size + header.commands_size
    for number in range(header.commands):
        command, size = window.unpack(_COMMAND, offset, f"load command {number}")
        if size < _COMMAND.size or offset + size > end:
            raise window.bad(f"load command {number} ({command:#x}) claims {size} bytes, which cannot be")
        window.cut(offset, size, f"load command {number}")
        yield command, offset, size
        offset += size


def loaded_sections(data: bytes, name: str) -> Iterator[LoadedSection]:
    """What a linked image or an object brings into memory: code, constants, data; no symbol table, no debug entries.

    Raises:
        FormatError: while iterating, as `read_macho`.
    """
    window = Window(data, name)
    for command, offset, size in load_commands(window, read_header(data, name)):
        if command != _LC_SEGMENT_64:
            continue
        for section in _sections(window, offset, size):
            if section.type not in _WITHOUT_BYTES and not section.segment.startswith((b"__DWARF", b"__LD\0")):
                content = window.cut(section.offset, section.size, "a section")
                yield LoadedSection(decode_name(section.name.rstrip(b"\0")), content, section.type == _CSTRING_LITERALS)


def is_encrypted(data: bytes, name: str) -> bool:
    """Whether the App Store has encrypted the image: its code and constants cannot be read then.

    Raises:
        FormatError: as `read_macho`.
    """
    window = Window(data, name)
    return any(
        window.unpack(_ENCRYPTION, offset, "LC_ENCRYPTION_INFO_64") != (0,)
        for command, offset, _size in load_commands(window, read_header(data, name))
        if command == _LC_ENCRYPTION_INFO_64
    )


_NUMBER = "a number of the exports trie"


def read_exports(data: bytes, name: str) -> frozenset[str]:
    """Names that an image exports: what the loader and `dlsym` find, whatever `strip` did to its symbol table.

    They are spelt as in the file, with the leading underscore, and are in a tree whose edges are labelled with pieces
    of names (LC_DYLD_EXPORTS_TRIE, `export_off` of LC_DYLD_INFO); an object has none.

    Raises:
        FormatError: it is no Mach-O file, or its trie is malformed.
    """
    window = Window(data, name)
    for command, offset, _size in load_commands(window, read_header(data, name)):
        if command in _LC_DYLD_INFO:
            at, size = window.unpack(_DYLD_INFO, offset, "LC_DYLD_INFO")
        elif command == _LC_DYLD_EXPORTS_TRIE:
            at, size = window.unpack(_LINKEDIT_DATA, offset, "LC_DYLD_EXPORTS_TRIE")
        else:
            continue
        if size:
            return read_trie(window.cut(at, size, "the exports trie"), name)
    return frozenset()


def read_trie(trie: bytes, name: str) -> frozenset[str]:
    """Names in an exports trie.

    Every node may be reached once only, so a crafted trie can neither loop nor grow beyond its own bytes, but for the
    names themselves, which are bounded.

    Raises:
        FormatError: a number, a label or a node goes beyond the end, or a node is reached twice.
    """
    cursor = Cursor(trie, name)
    window = cursor.window
    names: set[str] = set()
    seen: set[int] = set()
    total = 0
    waiting = [(0, b"")]
    while waiting:
        cursor.at, prefix = waiting.pop()
        if cursor.at in seen:
            raise window.bad(f"the exports trie reaches its node at {cursor.at} twice")
        seen.add(cursor.at)
        terminal = cursor.number(_NUMBER, bits=64)
        if terminal:
            names.add(decode_name(prefix))
        cursor.take(terminal, "an exported symbol")
        for _ in range(cursor.byte("a node of the exports trie")):
            end = trie.find(b"\0", cursor.at, cursor.at + LONGEST_NAME)
            if end < 0:
                raise window.bad("a label of the exports trie has no end")
            label = prefix + trie[cursor.at : end]
            total += len(label)
            if len(label) > LONGEST_NAME or total > LONGEST_NAME + 64 * len(trie):
                raise window.bad("the names in the exports trie are longer than any linker would write them")
            cursor.at = end + 1
            waiting.append((cursor.number(_NUMBER, bits=64), label))
    return frozenset(names)


def _sections(window: Window, offset: int, size: int) -> Iterator[_Section]:
    """The section records of a segment command."""
    *_, sections, _flags = window.unpack(_SEGMENT, offset, "a segment command")
    if _SEGMENT.size + sections * _SECTION.size > size:
        raise window.bad(f"a segment of {sections} sections does not fit its load command of {size} bytes")
    return map(_Section._make, window.table(_SECTION, offset + _SEGMENT.size, sections, "the sections of a segment"))


def _constructors(window: Window, offset: int, size: int) -> int:
    """Entries in the start-up tables of a segment: pointers in objects and older images, 32-bit offsets in newer."""
    widths = {_MOD_INIT_FUNC_POINTERS: 8, _INIT_FUNC_OFFSETS: 4}
    return sum(one.size // widths[one.type] for one in _sections(window, offset, size) if one.type in widths)


def _symbols(window: Window, offset: int, defined: list[Symbol], undefined: list[Symbol]) -> None:
    """Sort the global symbols of LC_SYMTAB into the two lists. Debugger entries and local names are left out."""
    table, count, strings_at, strings_size = window.unpack(_SYMTAB, offset, "LC_SYMTAB")
    strings = Window(window.cut(strings_at, strings_size, "the string table"), window.where)
    for at, kind, _section, description, value in window.table(_NLIST, table, count, "the symbol table"):
        if kind & _N_STAB or not kind & _N_EXT:
            continue
        name = strings.text(at, "a symbol's name")
        if kind & _N_TYPE in (_N_UNDF, _N_PBUD):
            if value:  # a common symbol: its size stands where an address would
                defined.append(Symbol(name, weak=True))
            else:
                undefined.append(Symbol(name, weak=bool(description & _N_WEAK_REF)))
        else:
            defined.append(Symbol(name, weak=bool(description & _N_WEAK_DEF)))


def _version(packed: int) -> str:
    """`0x000E0501` is 14.5.1; a patch of 0 is not written, as in triples."""
    major, minor, patch = packed >> 16, packed >> 8 & 0xFF, packed & 0xFF
    return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"


def _before_build_version(system: str, arch: str) -> str:
    """LC_VERSION_MIN had no number for simulators: an iOS file for an Intel processor was one."""
    return f"{system}-simulator" if system != "macos" and arch.startswith("x86_64") else system
