"""Archives: the bytes of llvm-ar, every dialect read, malformed ones refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from binary_builders import BUILDERS, FLAVOURS, Sym, coff_object, elf_object, macho_object, tvm_model, wasm_object
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llvm_tools import find_tool

from pipeline.binary import ar
from pipeline.binary.ar import Member, read_archive, write_archive
from pipeline.binary.objects import is_bitcode, is_object
from pipeline.errors import FormatError

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40).filter(
    lambda name: "/" not in name and not name.startswith(("._", "-", "__.SYMDEF")) and name not in {".", ".."}
    # A Darwin or GNU header cannot tell trailing blanks from its own padding.
    and name == name.strip()
)  # fmt: skip
DATA = st.binary(max_size=50).filter(lambda data: not is_object(data) and not is_bitcode(data))
MEMBERS = st.lists(st.builds(Member, NAMES, DATA), unique_by=lambda member: member.name, max_size=6)
SYMBOLS = st.lists(
    st.builds(Sym, st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,40}", fullmatch=True), st.booleans(), st.booleans()),
    unique_by=lambda symbol: symbol.name,
    max_size=6,
)


@pytest.mark.parametrize("flavour", ["gnu", "coff"])
@given(MEMBERS)
def test_gnu_and_windows_archives_round_trip(flavour, members):
    assert read_archive(write_archive(members, flavour)) == tuple(members)


@given(MEMBERS)
def test_darwin_archives_round_trip_but_for_the_padding_to_eight_bytes(members):
    padded = tuple(Member(m.name, m.data + b"\n" * (-len(m.data) % 8)) for m in members)
    archive = write_archive(members, "darwin")
    assert read_archive(archive) == padded
    assert write_archive(padded, "darwin") == archive


@pytest.mark.parametrize("format_", BUILDERS)
@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z][A-Za-z0-9_ .-]{0,40}\.o", fullmatch=True), SYMBOLS),
        unique_by=lambda pair: pair[0],
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_archive_of_objects_equals_llvm_ar(format_, llvm_ar, members):
    flavour = FLAVOURS.get(format_, "gnu")
    objects = [Member(name, BUILDERS[format_](symbols)) for name, symbols in members]
    assert write_archive(objects, flavour) == llvm_ar(objects, flavour)


ASSEMBLY = {
    "arm64-apple-ios14.0": """
.globl _strong, _weak, _hidden, _absolute, _missing
.weak_definition _weak
.private_extern _hidden
_strong: _weak: _hidden: _local: b _missing
.comm _common, 8
_absolute = 5
""",
    "x86_64-apple-ios18.0-macabi": """
.globl _main
_main: retq
.subsections_via_symbols
""",
    "aarch64-linux-android24": """
.globl strong, hidden, absolute
.weak weak, weak_missing
.hidden hidden
.type strong, %function
strong: weak: hidden: local: b missing
b weak_missing
.comm common, 8
absolute = 5
.file "x.c"
""",
    "x86_64-linux-gnu": """
.type once, @gnu_unique_object
once: .quad other
.section .init_array
.quad once
""",
    "armv7-linux-androideabi24": """
.globl main
main: bx lr
.data
.globl value
value: .long 5
""",
    "x86_64-pc-windows-msvc": """
.globl strong, absolute, a_name_of_more_than_eight_bytes
.weak weak, weak_missing
strong: weak: local: callq missing
a_name_of_more_than_eight_bytes: callq weak_missing
.comm common, 8
absolute = 5
.section .rdata,"dr",discard,shared
.globl shared
shared: .quad 0
.section .CRT$XCU,"dr"
.quad strong
""",
    "wasm32-unknown-unknown": """
.functype missing () -> ()
.globaltype __stack_pointer, i32
.globl strong, value
.weak weak
strong:
.functype strong () -> ()
call missing
end_function
.section .text.weak,"",@
weak:
.functype weak () -> ()
global.get __stack_pointer
drop
end_function
.section .data.value,"",@
value:
.int32 5
.size value, 4
""",
}


@pytest.mark.parametrize("triple", ASSEMBLY)
def test_every_kind_of_symbol_is_indexed_as_llvm_ar_does(assemble, llvm_ar, triple):
    flavour = "darwin" if "apple" in triple else "coff" if "windows" in triple else "gnu"
    members = [Member("a_long_name_of_a_member.o", assemble(ASSEMBLY[triple], triple)), Member("odd.txt", b"odd")]
    assert write_archive(members, flavour) == llvm_ar(members, flavour)


@pytest.mark.parametrize(
    ("flavour", "members"),
    [
        ("darwin", []),
        ("darwin", [Member("only.txt", b"text")]),
        ("gnu", [Member("only.txt", b"text")]),
        ("gnu", [Member("nothing_global.o", elf_object())]),
        ("darwin", [Member("nothing_global.o", macho_object())]),
        ("coff", [Member("a_long_name_without_symbols.o", coff_object()), Member("a.txt", b"1")]),
        ("coff", [Member("a.o", coff_object([Sym("b"), Sym("twice")])), Member("b.o", coff_object([Sym("twice")]))]),
        ("gnu", [Member("exactly_15char.o"[:15], b"1"), Member("exactly_16chars.", b"2"), Member("a" * 99, b"3")]),
    ],
    ids=["empty", "text", "gnu-text", "no-symbols", "darwin-no-symbols", "coff-no-symbols", "coff-twice", "long-names"],
)
def test_edges_equal_llvm_ar(llvm_ar, flavour, members):
    assert write_archive(members, flavour) == llvm_ar(members, flavour)


def test_every_symbol_of_the_index_leads_to_the_member_that_defines_it(tool, tmp_path):
    members = [*tvm_model("model_a_"), Member("model_b.o", tvm_model("model_b_")[0].data)]
    (tmp_path / "x.a").write_bytes(write_archive(members, "darwin"))
    listed = tool("llvm-nm", "--print-armap", tmp_path / "x.a").stdout
    assert "___tvm_ffi_model_b_matmul in model_b.o" in listed
    assert "_model_a___tvm_ffi__library_bin in model_a_devc.o" in listed


@pytest.mark.skipif(sys.platform != "linux", reason="needs the GNU tools of Linux")
def test_an_archive_of_gnu_ar_is_read(tmp_path):
    members = (Member("short.o", b"abc"), Member("a_name_longer_than_sixteen.o", b"defg"))
    for member in members:
        (tmp_path / member.name).write_bytes(member.data)
    tool = find_tool("ar")
    subprocess.run([tool, "rcsD", "x.a", *[member.name for member in members]], cwd=tmp_path, check=True)
    assert read_archive((tmp_path / "x.a").read_bytes()) == members


@pytest.mark.parametrize("dialect", ["bsd", "darwin", "gnu"])
def test_every_dialect_of_llvm_ar_is_read(tool, tmp_path, dialect):
    members = (Member("short.o", macho_object([Sym("_a")])), Member("a_name_longer_than_sixteen.o", b"8 bytes!"))
    for member in members:
        (tmp_path / member.name).write_bytes(member.data)
    tool("llvm-ar", f"--format={dialect}", "rcsD", "x.a", *[member.name for member in members], cwd=tmp_path)
    padding = b"\n" * (-len(members[0].data) % 8) if dialect == "darwin" else b""
    assert read_archive((tmp_path / "x.a").read_bytes()) == (Member("short.o", members[0].data + padding), members[1])


def raw_member(name: bytes, data: bytes) -> bytes:
    header = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"644".ljust(8) + str(len(data)).encode().ljust(10)
    return header + b"`\n" + data + b"\n" * (len(data) % 2)


INDEXES = ["/", "/SYM64/", "__.SYMDEF", "__.SYMDEF SORTED"]
LONG_INDEXES = ["#1/12 __.SYMDEF", "#1/20 __.SYMDEF_64", "#1/20 __.SYMDEF SORTED"]


@pytest.mark.parametrize("name", [*INDEXES, *LONG_INDEXES])
def test_symbol_indexes_are_no_members(name):
    head, _, inner = name.partition(" ") if name.startswith("#1/") else (name, "", "")
    length = int(head[3:]) if inner else 0
    archive = ar.MAGIC + raw_member(head.encode(), inner.encode().ljust(length, b"\0") + b"12345678")
    assert read_archive(archive + raw_member(b"x.o/", b"data")) == (Member("x.o", b"data"),)


def test_the_last_padding_byte_may_be_missing():
    assert read_archive((ar.MAGIC + raw_member(b"x.o/", b"odd"))[:-1]) == (Member("x.o", b"odd"),)


def test_apple_double_members_are_refused_or_skipped():
    archive = ar.MAGIC + raw_member(b"._x.o/", b"junk") + raw_member(b"x.o/", b"data")
    with pytest.raises(FormatError, match=r"\._x\.o.*AppleDouble[\s\S]*COPYFILE_DISABLE"):
        read_archive(archive)
    assert read_archive(archive, skip_apple_double=True) == (Member("x.o", b"data"),)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"", "no static archive"),
        (b"\x7fELF", "no static archive"),
        (b"!<thin>\n", "thin archive"),
        (b"\xca\xfe\xba\xbe\0\0\0\2", "fat file"),
        (ar.MAGIC + b"short", "header"),
        (ar.MAGIC + raw_member(b"x/", b"data")[:-1], "goes beyond the end"),
        (ar.MAGIC + raw_member(b"x/", b"data").replace(b"`\n", b"??"), "does not end"),
        (ar.MAGIC + raw_member(b"x/", b"data").replace(b"4         ", b"-4        "), "not a number"),
        (ar.MAGIC + raw_member(b"/7", b"data"), "table that is not there"),
        (ar.MAGIC + raw_member(b"//", b"name/\n") + raw_member(b"/99", b"data"), "99 of a table"),
        (ar.MAGIC + raw_member(b"#1/99", b"data"), "name"),
        (ar.MAGIC + raw_member(b"#1/x", b"data"), "not a number"),
    ],
)
def test_malformed_archives_are_refused(archive, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_archive(archive, "libx.a")
    assert str(caught.value).startswith("libx.a: ")
    assert caught.value.hint


@pytest.mark.parametrize("name", ["", "a/b", "new\nline", "nul\0", "._double.o", "__.SYMDEF"])
def test_names_that_cannot_be_are_refused(name):
    with pytest.raises(FormatError, match="cannot be the name"):
        write_archive([Member(name, b"")], "gnu")


def test_equal_names_are_refused():
    with pytest.raises(FormatError, match=r"two members are called lib0\.o[\s\S]*prefix"):
        write_archive([Member("lib0.o", b"1"), Member("lib0.o", b"2")], "gnu")


def test_bitcode_is_refused_because_its_symbols_could_not_be_indexed():
    with pytest.raises(FormatError, match=r"libx\.a\(m\.o\): is LLVM bitcode"):
        write_archive([Member("m.o", b"BC\xc0\xde" + b"\0" * 40)], "gnu", "libx.a")


def test_a_malformed_object_is_refused_by_its_name():
    with pytest.raises(FormatError, match=r"libx\.a\(m\.o\): "):
        write_archive([Member("m.o", macho_object([Sym("_a")])[:50])], "darwin", "libx.a")


def test_offsets_beyond_the_index_are_refused(monkeypatch):
    monkeypatch.setattr(ar, "_OFFSET_LIMIT", 1000)
    with pytest.raises(FormatError, match=r"^libx\.a: is larger than its index[\s\S]*weights"):
        write_archive([Member("a.txt", b"x" * 1000), Member("b.o", wasm_object([Sym("b")]))], "gnu", "libx.a")


@given(st.binary(max_size=200), st.integers(0, 500), st.integers(0, 500))
@settings(max_examples=300)
def test_no_damage_ends_in_anything_but_a_format_error(noise, start, end):
    archive = write_archive([Member("a_name_longer_than_sixteen.o", b"12345"), Member("b.o", b"678")], "gnu")
    for damaged in (archive[:start] + noise + archive[end:], ar.MAGIC + noise, archive[: start % len(archive)]):
        try:
            assert all(isinstance(member, Member) for member in read_archive(damaged))
        except FormatError as error:
            assert error.hint  # noqa: PT017 - either outcome is right; no other exception is
