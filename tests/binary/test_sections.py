"""What is in memory when a file runs: sections of objects and images, without symbols and debug entries."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.macho import is_encrypted
from pipeline.binary.objects import loaded_sections
from pipeline.errors import FormatError

MACHO = """
.globl _symbol_name
_symbol_name: ret
.section __TEXT,__const
.asciz "a constant"
.section __TEXT,__cstring,cstring_literals
.asciz "a literal"
.section __DWARF,__debug_str,regular,debug
.asciz "a debug entry"
.zerofill __DATA,__bss,_zeros,64,3
"""
ELF = """
.globl symbol_name
symbol_name: ret
.section .rodata,"a"
.asciz "a constant"
.section .rodata.str1.1,"aMS",@progbits,1
.asciz "a literal"
.section .debug_str,"MS",@progbits,1
.asciz "a debug entry"
.bss
.zero 64
"""


@pytest.mark.parametrize(
    ("source", "triple", "constants", "literals"),
    [
        (MACHO, "arm64-apple-ios14.0", "__const", "__cstring"),
        (ELF, "x86_64-linux-gnu", ".rodata", ".rodata.str1.1"),
        (ELF, "aarch64-linux-android24", ".rodata", ".rodata.str1.1"),
    ],
)
def test_constants_and_literals_are_told_apart_and_debug_entries_left_out(
    assemble, source, triple, constants, literals
):
    found = {section.name: section for section in loaded_sections(assemble(source, triple), "x.o")}
    assert (found[constants].data, found[constants].literals) == (b"a constant\0", False)
    assert (found[literals].data, found[literals].literals) == (b"a literal\0", True)
    assert not any(b"debug entry" in section.data or b"symbol_name" in section.data for section in found.values())


def test_constants_that_a_linker_has_flagged_as_literals(assemble):
    """Rust's lld (22) merges literals into `.rodata`, and flags all of it as they were flagged."""
    data = bytearray(assemble(ELF, "x86_64-linux-gnu"))
    table, size = struct.unpack_from("<Q", data, 0x28)[0], 64
    flags = [at + 8 for at in range(table, len(data), size) if struct.unpack_from("<IQ", data, at + 4) == (1, 0x2)]
    assert len(flags) == 1, "allocated, and neither written nor run"
    struct.pack_into("<Q", data, flags[0], 0x2 | 0x10 | 0x20)
    found = {section.name: section.literals for section in loaded_sections(bytes(data), "x.o")}
    assert not found[".rodata"]


def test_of_a_linked_image_too(assemble, link_dylib):
    source = MACHO.replace('.asciz "a constant"', '_kept: .asciz "a constant"') + ".no_dead_strip _kept\n"
    data = link_dylib(write_archive([Member("a.o", assemble(source, "arm64-apple-ios14.0"))], "darwin"))
    found = {section.name: section for section in loaded_sections(data, "out")}
    assert b"a constant\0" in found["__const"].data
    assert found["__cstring"].literals
    assert not is_encrypted(data, "out")


def test_what_is_no_object_is_refused():
    with pytest.raises(FormatError, match="neither Mach-O nor ELF"):
        list(loaded_sections(b"\0asm\1\0\0\0", "x"))


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), form=st.sampled_from(["macho", "elf"]))
def test_damage_is_refused_or_harmless(at, value, form):
    from binary_builders import BUILDERS, Sym

    data = bytearray(BUILDERS[form]([Sym("a")], constructors=1))
    data[at % len(data)] = value
    try:
        total = sum(len(section.data) for section in loaded_sections(bytes(data), "x"))
    except FormatError:
        return
    assert total <= 20 * len(data)
