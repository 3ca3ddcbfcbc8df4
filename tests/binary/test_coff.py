"""COFF: objects built byte by byte, assembled ones, and what a linker makes of them."""

from __future__ import annotations

import struct

import lief
import pytest
from binary_builders import Sym, coff_object

from pipeline.binary.coff import is_coff, read_coff
from pipeline.binary.coff_edit import stub_object
from pipeline.binary.object_info import Symbol
from pipeline.errors import FormatError


def test_symbols_are_sorted_into_defined_and_undefined():
    symbols = [
        Sym("local", local=True),
        Sym("b"),
        Sym("a_long_name", weak=True),
        Sym("missing", defined=False),
        Sym("optional", defined=False, weak=True),
    ]
    info = read_coff(coff_object(symbols), "x.obj")
    assert info.defined == (Symbol("b"), Symbol("a_long_name", weak=True))
    assert info.undefined == (Symbol("missing"), Symbol("optional", weak=True))
    assert (info.platform, info.minimum_os, info.load_alignment) == (None, None, None)


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_processor(arch):
    info = read_coff(coff_object(arch=arch), "x.obj")
    assert (info.name, info.format, info.arch, info.kind) == ("x.obj", "coff", arch, "object")


@pytest.mark.parametrize(("section", "count"), [(".CRT$XCU", 3), (".CRT$XIU", 3), (".ctors", 3), (".CRT$XPU", 0)])
def test_constructors_are_what_runs_before_main(section, count):
    assert read_coff(coff_object(constructors=3, crt=section), "x.obj").constructors == count


def test_common_absolute_and_shared_symbols_are_definitions(assemble):
    source = """.comm common, 8
.globl absolute, shared, alone, long_section
absolute = 5
.section .rdata,"dr",discard,shared
shared: .quad 0
.section .text,"xr",one_only,alone
alone: ret
.section .a_section_with_a_long_name,"dr"
long_section: .quad elsewhere
"""
    info = read_coff(assemble(source, "aarch64-pc-windows-msvc"), "x.obj")
    weak = {Symbol("common", weak=True), Symbol("shared", weak=True)}
    assert set(info.defined) == {*weak, Symbol("absolute"), Symbol("alone"), Symbol("long_section")}
    assert info.undefined == (Symbol("elsewhere"),)


@pytest.fixture
def link_dll(tool, assemble, tmp_path):
    """A DLL that exports `f`, imports `g` of `other.dll`, and has two constructors."""
    source = (
        '.globl f\nf: callq g\n.section .CRT$XCU,"dr"\n.quad f\n.quad f\n.section .drectve,"yni"\n.ascii " /EXPORT:f"\n'
    )
    (tmp_path / "x.obj").write_bytes(assemble(source, "x86_64-pc-windows-msvc"))
    (tmp_path / "other.def").write_text("LIBRARY other.dll\nEXPORTS\ng\n")
    tool("lld-link", "/LIB", "/DEF:other.def", "/MACHINE:X64", "/OUT:other.lib", cwd=tmp_path)

    def run(*options: str) -> bytes:
        words = ["/NODEFAULTLIB", "/OUT:x.dll", *(options or ["/DLL", "/NOENTRY"])]
        tool("lld-link", *words, "x.obj", "other.lib", cwd=tmp_path)
        return (tmp_path / "x.dll").read_bytes()

    return run


def test_a_dll_tells_exports_imports_and_constructors(link_dll):
    data = link_dll()
    info = read_coff(data, "x.dll")
    assert (info.kind, info.arch, info.constructors) == ("dylib", "x86_64", 2)
    assert (info.defined, info.needed) == ((Symbol("f"),), ("other.dll",))
    binary = lief.PE.parse(list(data))
    assert [entry.name for entry in binary.get_export().entries] == ["f"]
    assert [one.name for one in binary.imports] == ["other.dll"]


def test_a_program_is_told_from_a_dll(link_dll):
    info = read_coff(link_dll("/ENTRY:f", "/SUBSYSTEM:CONSOLE", "/FIXED"), "x.exe")
    assert info.kind == "executable"


def test_constructors_that_are_merged_into_another_section_are_not_told(link_dll):
    assert read_coff(link_dll("/DLL", "/NOENTRY", "/MERGE:.CRT=.rdata"), "x.dll").constructors == 0


@pytest.mark.parametrize("arch", ["arm64", "x86_64"])
def test_a_stub_defines_names_whatever_they_are(arch):
    names = ["f", "a_name_of_more_than_eight_bytes", "?mangled@@YAXXZ", "odd \n'\"name"]
    info = read_coff(stub_object(arch, names), "stub.obj")
    assert [symbol.name for symbol in info.defined] == sorted(names)


def test_every_cut_of_a_dll_and_every_byte_of_its_headers_end_well(link_dll):
    data = link_dll()
    for at in range(1024):
        for changed in (data[:at], data[: at * 4], data[:at] + b"\xff" + data[at + 1 :]):
            try:
                read_coff(changed, "x.dll")
            except FormatError as error:
                assert error.hint  # noqa: PT017 - either outcome is right; no other exception is


def edited(offset: int, layout: str, value: int, data: bytes | None = None) -> bytes:
    changed = bytearray(data or coff_object([Sym("a_long_name", weak=True)]))
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


SYMBOLS_AT = 20 + 40 + 16


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "COFF header"),
        (edited(0, "<H", 0x14C), "machine 0x14c"),
        (edited(2, "<H", 60000), "section table"),
        (edited(8, "<I", 1 << 31), "table of names"),
        (edited(8, "<I", 0), "no symbol table"),
        (edited(12, "<I", 1 << 30), "table of names"),
        (edited(20 + 16, "<I", 1 << 30), "a section"),
        (edited(SYMBOLS_AT + 4, "<I", 9999), "symbol's name at 9999"),
        (edited(SYMBOLS_AT + 12, "<h", 9), "section 9 of 1"),
        (edited(SYMBOLS_AT + 17, "<B", 0), "stands in for the weak symbol"),
        (edited(SYMBOLS_AT + 17, "<B", 9), "auxiliary records"),
        (edited(SYMBOLS_AT + 18, "<I", 9), "symbol 9 of 3"),
        (b"\0\0\xff\xff" + b"\0" * 60, "import object"),
        (b"MZ" + b"\0" * 62, "MS-DOS"),
        (b"MZ" + b"\0" * 58 + b"\xff" * 4, "PE header"),
    ],
)
def test_malformed_files_are_refused_by_name(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_coff(data, "models.lib(m.obj)")
    assert str(caught.value).startswith("models.lib(m.obj): ")
    assert caught.value.hint


def test_an_object_is_told_by_more_than_two_bytes():
    assert is_coff(coff_object())
    assert not is_coff(b"d\x86 and more of a text that goes on")
    assert not is_coff(b"d\x86")
