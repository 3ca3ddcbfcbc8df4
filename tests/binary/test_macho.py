"""Mach-O: objects built byte by byte, assembled ones, and what a linker makes of them."""

from __future__ import annotations

import struct

import pytest
from binary_builders import Sym, macho_object
from lief_agreement import agree_on_macho

from pipeline.binary.ar import Member, read_archive, write_archive
from pipeline.binary.macho import read_header, read_macho
from pipeline.binary.object_info import Symbol
from pipeline.errors import FormatError


def test_symbols_are_sorted_into_defined_and_undefined_and_keep_the_files_spelling():
    info = read_macho(
        macho_object(
            [
                Sym("_local", local=True),
                Sym("_b"),
                Sym("_a", weak=True),
                Sym("_missing", defined=False),
                Sym("_optional", defined=False, weak=True),
            ]
        ),
        "x.o",
    )
    assert info.defined == (Symbol("_b"), Symbol("_a", weak=True))
    assert info.undefined == (Symbol("_missing"), Symbol("_optional", weak=True))


@pytest.mark.parametrize("arch", ["arm64", "x86_64", "arm64e"])
@pytest.mark.parametrize("platform", ["ios", "ios-simulator", "maccatalyst", "macos"])
def test_processor_and_platform(arch, platform):
    info = read_macho(macho_object(arch=arch, platform=platform, minimum_os=(14, 5, 0)), "x.o")
    assert (info.name, info.format, info.arch, info.kind) == ("x.o", "macho", arch, "object")
    assert (info.platform, info.minimum_os) == (platform, "14.5")


@pytest.mark.parametrize(
    ("command", "arch", "platform"),
    [
        (0x24, "arm64", "macos"),
        (0x25, "arm64", "ios"),
        (0x25, "x86_64", "ios-simulator"),
        (0x24, "x86_64", "macos"),
        (0x2F, "arm64", "tvos"),
    ],
)
def test_platform_from_the_load_commands_of_old(command, arch, platform):
    info = read_macho(macho_object(platform=None, version_min=command, arch=arch, minimum_os=(12, 1, 3)), "x.o")
    assert (info.platform, info.minimum_os) == (platform, "12.1.3")


def test_an_object_without_a_version_in_its_triple_names_no_platform():
    info = read_macho(macho_object(platform=None), "x.o")
    assert (info.platform, info.minimum_os) == (None, None)


def test_constructors_are_counted_in_both_kinds_of_table():
    assert read_macho(macho_object(constructors=3), "x.o").constructors == 3
    assert read_macho(macho_object(init_offsets=4), "x.o").constructors == 4
    assert read_macho(macho_object(), "x.o").constructors == 0


@pytest.mark.parametrize(("filetype", "kind"), [(1, "object"), (2, "executable"), (6, "dylib"), (8, "dylib")])
def test_kinds(filetype, kind):
    info = read_macho(macho_object(filetype=filetype, needed=("/usr/lib/libSystem.B.dylib", "@rpath/x")), "x")
    assert (info.kind, info.needed) == (kind, ("/usr/lib/libSystem.B.dylib", "@rpath/x"))


def test_common_absolute_and_hidden_symbols_are_definitions(assemble):
    source = ".comm _common, 8\n.globl _absolute, _hidden\n_absolute = 5\n.private_extern _hidden\n_hidden: ret\n"
    info = read_macho(assemble(source, "arm64-apple-ios14.0"), "x.o")
    assert set(info.defined) == {Symbol("_common", weak=True), Symbol("_absolute"), Symbol("_hidden")}
    assert info.undefined == ()


CONSTRUCTOR = """
_register: bl _TVMFFIEnvModRegisterSystemLibSymbol
.section __DATA,__mod_init_func,mod_init_funcs
.p2align 3
.quad _register
.subsections_via_symbols
"""


@pytest.fixture
def models(assemble) -> bytes:
    """An archive of two models as TVM writes them. Assembled: the linker follows the relocations of constructors."""
    members = []
    for prefix in ("a_", "b_"):
        symbol = f"_{prefix}__tvm_ffi__library_bin"
        blob = f".const\n.globl {symbol}\n{symbol}: .quad 1\n.text\n{CONSTRUCTOR}"
        host = f".globl ___tvm_ffi_{prefix}matmul\n___tvm_ffi_{prefix}matmul: ret\n{CONSTRUCTOR}"
        members.append(Member(f"{prefix}devc.o", assemble(blob, "arm64-apple-ios14.0")))
        members.append(Member(f"{prefix}lib0.o", assemble(host, "arm64-apple-ios14.0")))
    return write_archive(members, "darwin")


BLOBS = {"_a___tvm_ffi__library_bin", "_b___tvm_ffi__library_bin"}


@pytest.mark.parametrize(("force_load", "constructors", "blobs"), [(True, 4, BLOBS), (False, 0, set())])
def test_a_linked_library_tells_what_survived(models, link_dylib, force_load, constructors, blobs):
    info = read_macho(link_dylib(models, "-dead_strip", force_load=force_load), "out.dylib")
    assert (info.kind, info.platform, info.minimum_os) == ("dylib", "ios", "14.0")
    assert info.constructors == constructors
    assert {symbol.name for symbol in info.defined if symbol.name.endswith("library_bin")} == blobs
    assert "/usr/lib/libruntime.dylib" in info.needed


def test_an_exported_symbols_list_leaves_nothing_else(models, link_dylib):
    library = link_dylib(models, "-exported_symbol", "_a___tvm_ffi__library_bin")
    assert [symbol.name for symbol in read_macho(library, "out").defined] == ["_a___tvm_ffi__library_bin"]


def test_agrees_with_lief(models, link_dylib):
    for member in read_archive(models):
        agree_on_macho(member.data)
    agree_on_macho(link_dylib(models))


def edited(offset: int, value: int, data: bytes | None = None) -> bytes:
    changed = bytearray(data or macho_object([Sym("_a")]))
    struct.pack_into("<I", changed, offset, value)
    return bytes(changed)


SYMTAB = macho_object([Sym("_a")]).index(struct.pack("<2I", 0x2, 24))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a Mach-O"),
        (b"\xce\xfa\xed\xfe" + b"\0" * 60, "32-bit"),
        (b"\xfe\xed\xfa\xcf" + b"\0" * 60, "big-endian"),
        (edited(4, 99), "unknown processor"),
        (edited(12, 10), "type 10"),
        (edited(16, 1 << 31), "load command"),
        (edited(36, 0), "claims 0 bytes"),
        (edited(36, 1 << 31), "claims"),
        (edited(32 + 24 + 64, 1 << 31), "does not fit its load command"),
        (edited(SYMTAB + 12, 1 << 31), "the symbol table"),
        (edited(SYMTAB + 20, 1 << 31), "the string table"),
        (edited(SYMTAB + 20, 1), "symbol's name"),
        (edited(SYMTAB + 20, 3), "has no end"),
    ],
)
def test_malformed_files_are_refused_by_name(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_macho(data, "libx.a(m.o)")
    assert str(caught.value).startswith("libx.a(m.o): ")
    assert caught.value.hint


def test_the_header_alone_can_be_read():
    header = read_header(macho_object(arch="x86_64")[:32], "x.o")
    assert (header.cpu, header.subtype, header.arch) == (0x01000007, 3, "x86_64")
