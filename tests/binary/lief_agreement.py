"""What our readers and lief both tell of a file must be the same."""

from __future__ import annotations

import lief

from pipeline.binary.elf import read_elf
from pipeline.binary.macho import read_macho


def agree_on_macho(data: bytes) -> None:
    """Everything lief also tells must be the same."""
    fat = lief.MachO.parse(list(data))  # owns its slices: it must outlive them
    binary = fat.at(0)
    info = read_macho(data, "x")
    external = [symbol for symbol in binary.symbols if symbol.raw_type & 1 and not symbol.raw_type & 0xE0]
    assert {s.name for s in info.undefined} == {s.name for s in external if s.raw_type & 0xE == 0}
    assert [s.name for s in info.defined] == [s.name for s in external if s.raw_type & 0xE]
    assert list(info.needed) == [library.name for library in binary.libraries if library.command.name != "ID_DYLIB"]
    assert info.minimum_os == "{}.{}".format(*binary.build_version.minos)
    tables = [(s.size, s.type.name) for s in binary.sections if "INIT_FUNC" in s.type.name]
    assert info.constructors == sum(size // (8 if "POINTERS" in kind else 4) for size, kind in tables)


def agree_on_elf(data: bytes) -> None:
    """Everything lief also tells must be the same."""
    binary = lief.ELF.parse(list(data))
    info = read_elf(data, "x")
    symbols = [s for s in (binary.dynamic_symbols if info.kind == "dylib" else binary.symtab_symbols) if s.name]
    visible = [s for s in symbols if s.binding.name != "LOCAL" and s.type.name not in ("SECTION", "FILE")]
    assert [s.name for s in info.defined] == [s.name for s in visible if s.shndx]
    assert {s.name for s in info.undefined} == {s.name for s in visible if not s.shndx}
    assert {s.name for s in info.defined if s.weak} == {s.name for s in visible if s.shndx and s.binding.name == "WEAK"}
    assert list(info.needed) == list(binary.libraries)
    loads = [segment.alignment for segment in binary.segments if segment.type.name == "LOAD"]
    assert info.load_alignment == (min(loads) if loads else None)
    assert info.constructors == sum(s.size // 8 for s in binary.sections if s.type.name == "INIT_ARRAY")
