"""The exports trie: what linkers write is read, what they would not write is refused."""

from __future__ import annotations

import re

import lief
import pytest
from binary_builders import macho_object
from hypothesis import given
from hypothesis import strategies as st

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.macho import read_exports, read_trie
from pipeline.errors import FormatError

NAMES = ("_model___tvm_ffi__library_bin", "_model_b", "_other")
SOURCE = "".join(f".globl {name}\n{name}: ret\n" for name in NAMES)


def uleb(number, width=0):
    out = bytearray()
    while number > 0x7F or len(out) + 1 < width:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def trie(names):
    """A trie with one label a name, of offsets of a fixed width."""
    names = sorted(names)
    labels = [name.encode() + b"\0" for name in names]
    at = 2 + sum(len(label) + 5 for label in labels)
    root, leaves = bytes([0, len(names)]), b""
    for label in labels:
        root += label + uleb(at + len(leaves), 5)
        leaves += b"\2\0\x40\0"
    return root + leaves


@pytest.fixture
def library(assemble) -> bytes:
    return write_archive([Member("a.o", assemble(SOURCE, "arm64-apple-ios14.0"))], "darwin")


@pytest.mark.parametrize("options", [("-fixup_chains",), ("-no_fixup_chains",)])
def test_agrees_with_lief_on_both_load_commands(library, link_dylib, options):
    data = link_dylib(library, *options)
    parsed = lief.MachO.parse(list(data))
    image = parsed.at(0)
    exports = (image.dyld_exports_trie if image.has_dyld_exports_trie else image.dyld_info).exports
    found = read_exports(data, "out.dylib")
    assert found == {export.symbol.name for export in exports}
    assert found == set(NAMES)


def test_a_strip_leaves_the_exports(library, link_dylib, tool, tmp_path):
    path = tmp_path / "stripped.dylib"
    path.write_bytes(link_dylib(library, "-exported_symbol", "_model_b"))
    tool("llvm-strip", "-x", path)
    assert read_exports(path.read_bytes(), "stripped.dylib") == {"_model_b"}


def test_an_object_exports_nothing():
    assert read_exports(macho_object(), "x.o") == frozenset()


@given(st.frozensets(st.from_regex(r"_[a-z0-9_]{0,30}", fullmatch=True), max_size=100))
def test_every_name_comes_back(names):
    assert read_trie(trie(names), "x") == names


def test_a_name_may_be_the_beginning_of_another():
    # _a is exported and goes on to _ab
    nested = bytes([0, 1]) + b"_a\0" + bytes([6]) + bytes([2, 0, 0, 1]) + b"b\0" + bytes([13]) + bytes([2, 0, 0, 0])
    assert read_trie(nested, "x") == {"_a", "_ab"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "goes beyond the end"),
        (b"\0", "goes beyond the end"),
        (b"\0\1", "has no end"),
        (b"\0\1a", "has no end"),
        (b"\0\1a\0", "goes beyond the end"),
        (b"\0\1a\0\x7f", "goes beyond the end"),
        (b"\0\1a\0\0", "its node at 0 twice"),
        (b"\0\2a\0\x08b\0\x08" + b"\0\0", "its node at 8 twice"),
        (b"\x80" * 12, "a number .* is no LEB128 number"),
        (b"\x7f\0", "an exported symbol"),
    ],
)
def test_malformed_tries_are_refused(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_trie(data, "App")
    assert str(caught.value).startswith("App: ")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        read_trie(data, "x")
    except FormatError as error:
        assert re.match("x: ", str(error))  # noqa: PT017 - either way is right


@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_trie_never_grows_beyond_reason(prefix, at, value):
    data = bytearray(trie({f"_{prefix.hex()}{n}" for n in range(30)}))
    data[at % len(data)] = value
    try:
        names = read_trie(bytes(data), "x")
    except FormatError:
        return
    assert sum(map(len, names)) < 100 * len(data) + (1 << 16)
