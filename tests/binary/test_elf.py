"""ELF: objects built byte by byte, assembled ones, and what linkers make of them."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from binary_builders import Sym, elf_object, tvm_model
from lief_agreement import agree_on_elf
from llvm_tools import find_tool

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.elf import read_elf
from pipeline.binary.object_info import Symbol
from pipeline.errors import FormatError


def test_symbols_are_sorted_into_defined_and_undefined():
    info = read_elf(
        elf_object(
            [
                Sym("local", local=True),
                Sym("b"),
                Sym("a", weak=True),
                Sym("missing", defined=False),
                Sym("optional", defined=False, weak=True),
            ]
        ),
        "x.o",
    )
    assert info.defined == (Symbol("b"), Symbol("a", weak=True))
    assert info.undefined == (Symbol("missing"), Symbol("optional", weak=True))
    assert (info.platform, info.minimum_os, info.load_alignment) == (None, None, None)


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_processor(arch):
    info = read_elf(elf_object(arch=arch), "x.o")
    assert (info.name, info.format, info.arch, info.kind) == ("x.o", "elf", arch, "object")


def test_constructors_are_counted_in_both_kinds_of_table():
    assert read_elf(elf_object(constructors=3), "x.o").constructors == 3
    assert read_elf(elf_object(ctors=2), "x.o").constructors == 2
    assert read_elf(elf_object(constructors=1, ctors=2), "x.o").constructors == 3


def test_common_unique_and_absolute_symbols_are_definitions(assemble):
    source = ".comm common, 8\n.globl absolute\nabsolute = 5\n.type once, @gnu_unique_object\nonce: .quad 0\n"
    info = read_elf(assemble(source, "x86_64-linux-gnu"), "x.o")
    assert set(info.defined) == {Symbol("common", weak=True), Symbol("absolute"), Symbol("once", weak=True)}


@pytest.mark.parametrize(("triple", "arch"), [("armv7-linux-androideabi24", "arm"), ("i686-linux-android24", "i686")])
def test_32_bit_objects(assemble, triple, arch):
    info = read_elf(assemble(".globl f\nf: .long g\n.section .init_array\n.long f\n.long f\n", triple), "x.o")
    assert (info.arch, info.defined, info.undefined) == (arch, (Symbol("f"),), (Symbol("g"),))
    assert info.constructors == 2


MODELS = [
    Member(f"{p}{m.name}" if m.name == "lib0.o" else m.name, m.data) for p in ("a_", "b_") for m in tvm_model(p, "elf")
]


@pytest.fixture
def link_so(tool, tmp_path):
    def run(*options: str) -> bytes:
        (tmp_path / "models.a").write_bytes(write_archive(MODELS, "gnu"))
        whole = ["--whole-archive", "models.a", "--no-whole-archive"]
        tool("ld.lld", "-shared", "-soname=libx.so", *options, *whole, "-o", "libx.so", cwd=tmp_path)
        return (tmp_path / "libx.so").read_bytes()

    return run


@pytest.mark.parametrize("page", [4096, 16384])
def test_a_shared_object_tells_what_a_loader_sees(link_so, page):
    info = read_elf(link_so("-z", f"max-page-size={page}"), "libx.so")
    assert (info.kind, info.constructors, info.load_alignment) == ("dylib", 4, page)
    assert Symbol("a___tvm_ffi__library_bin") in info.defined
    assert Symbol("TVMFFIEnvModRegisterSystemLibSymbol") in info.undefined


def test_symbols_that_a_version_script_hides_are_not_told(link_so, tmp_path):
    (tmp_path / "x.map").write_text("{ global: *__tvm_ffi__library_bin; local: *; };")
    info = read_elf(link_so("--version-script=x.map"), "libx.so")
    assert sorted(s.name for s in info.defined) == ["a___tvm_ffi__library_bin", "b___tvm_ffi__library_bin"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs the GNU tools of Linux")
def test_programs_and_needed_libraries(tmp_path):
    (tmp_path / "x.c").write_text("__attribute__((constructor)) static void f(void) {}\nint main(void) { return 0; }\n")
    compiler = find_tool("cc")
    seen = []
    for options in (["-pie"], ["-no-pie"]):
        subprocess.run([compiler, *options, "x.c", "-o", "x"], cwd=tmp_path, check=True)
        info = read_elf((tmp_path / "x").read_bytes(), "x")
        seen.append((info.kind, "libc.so.6" in info.needed, Symbol("main") in info.defined))
        assert info.constructors == 2  # ours, and the C runtime's frame_dummy
    assert seen == [("executable", True, True)] * 2


def test_agrees_with_lief(link_so):
    for data in (MODELS[0].data, link_so()):
        agree_on_elf(data)


def edited(offset: int, layout: str, value: int) -> bytes:
    changed = bytearray(elf_object([Sym("a")]))
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


def section_field(number: int, field: int, layout: str, value: int) -> bytes:
    """Change a field of a section header."""
    (table,) = struct.unpack_from("<Q", elf_object([Sym("a")]), 40)
    return edited(table + 64 * number + field, layout, value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF"),
        (b"\x7fELF\2", "identification"),
        (edited(5, "B", 2), "little-endian"),
        (edited(4, "B", 7), "32 or 64 bit"),
        (edited(16, "<H", 4), "type 4"),
        (edited(40, "<Q", 0), "no section table"),
        (edited(40, "<Q", 1 << 60), "section header"),
        (edited(58, "<H", 3), "section header has 3 bytes"),
        (edited(56, "<H", 3), "program header has 0 bytes"),
        (edited(60, "<H", 60000), "section table"),
        (edited(62, "<H", 60000), "section 60000"),
        (section_field(2, 24, "<Q", 1 << 62), "symbol table"),
        (section_field(2, 40, "<I", 99), "symbol names point to section 99"),
        (section_field(3, 32, "<Q", 1), "symbol's name"),
    ],
)
def test_malformed_files_are_refused_by_name(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_elf(data, "libx.a(m.o)")
    assert str(caught.value).startswith("libx.a(m.o): ")
    assert caught.value.hint
