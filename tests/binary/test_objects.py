"""The door to the readers, and what no damage to a file may do."""

from __future__ import annotations

import pytest
from binary_builders import BUILDERS, Sym
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.binary.objects import ObjectInfo, is_bitcode, is_object, read_object
from pipeline.errors import FormatError

SYMBOLS = [Sym("_local", local=True), Sym("_a"), Sym("_w", weak=True), Sym("_u", defined=False)]
OBJECTS = {name: build(SYMBOLS, constructors=2) for name, build in BUILDERS.items()}


@pytest.mark.parametrize("format_", OBJECTS)
def test_the_format_is_told_by_the_first_bytes(format_):
    info = read_object(OBJECTS[format_], "x.o")
    assert (info.name, info.format, info.kind) == ("x.o", format_, "object")
    assert is_object(OBJECTS[format_])


@pytest.mark.parametrize("format_", OBJECTS)
def test_symbols_are_those_of_llvm_nm(tool, tmp_path, format_):
    (tmp_path / "x.o").write_bytes(OBJECTS[format_])
    info = read_object(OBJECTS[format_], "x.o")
    for option, symbols in (("--defined-only", info.defined), ("--undefined-only", info.undefined)):
        listed = tool("llvm-nm", "--extern-only", "--format=just-symbols", option, tmp_path / "x.o").stdout.split()
        assert sorted(listed) == sorted(symbol.name for symbol in symbols)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither Mach-O nor ELF nor WebAssembly nor COFF"),
        (b"plain text", "neither"),
        (b"!<arch>\n", r"is an archive[\s\S]*members"),
        (b"!<thin>\n", "thin"),
        (b"\xca\xfe\xba\xbe\0\0\0\2", r"is a fat file[\s\S]*slices"),
        (b"BC\xc0\xde", "bitcode"),
        (b"\xde\xc0\x17\x0b", "bitcode"),
        (b"\xfe\xed\xfa\xce", "32-bit"),
    ],
)
def test_what_is_no_object_is_called_by_its_name(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_object(data, "thing.o")
    assert str(caught.value).startswith("thing.o: ")
    assert caught.value.hint


def test_bitcode_is_recognised_and_is_no_object():
    assert is_bitcode(b"BC\xc0\xde")
    assert not is_object(b"BC\xc0\xde")


EDITS = st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6)


def read_or_refuse(data: bytes) -> None:
    """The only two outcomes there may be."""
    try:
        assert isinstance(read_object(data, "x.o"), ObjectInfo)
    except FormatError as error:
        assert error.hint  # noqa: PT017 - either outcome is right; no other exception is


@pytest.mark.parametrize("format_", OBJECTS)
@given(EDITS, st.integers(0, 2000))
@settings(max_examples=300)
def test_no_damage_ends_in_anything_but_a_format_error(format_, edits, length):
    damaged = bytearray(OBJECTS[format_])
    for at, noise in edits:
        start = at % len(damaged)
        damaged[start : start + len(noise)] = noise
    read_or_refuse(bytes(damaged))
    read_or_refuse(bytes(damaged[: length % len(damaged)]))


@pytest.mark.parametrize("format_", OBJECTS)
@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_no_noise_ends_in_anything_but_a_format_error(format_, noise):
    read_or_refuse(noise)
    read_or_refuse(OBJECTS[format_][:8] + noise)


@pytest.mark.parametrize("format_", OBJECTS)
def test_every_truncation_is_refused_or_read(format_):
    data = OBJECTS[format_]
    for length in range(len(data)):
        read_or_refuse(data[:length])
    for at in range(len(data)):
        read_or_refuse(data[:at] + b"\xff" + data[at + 1 :])
