"""Installer packages: every payload that is supported is read, everything else is refused by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from app_builders import cpio, pbzx, xar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.apps.containers import open_container
from pipeline.apps.installer import payload_files, read_toc
from pipeline.errors import FormatError, SlipwayError

FILES = {"Chat.app/Contents/Info.plist": b"<plist/>", "Chat.app/Contents/MacOS/Chat": bytes(range(256)) * 999, "e": b""}


def contents(path):
    return {file.path: file.load() for file in open_container(path).files()}


@pytest.mark.parametrize("newc", [False, True])
@pytest.mark.parametrize("pack", [gzip.compress, pbzx, bz2.compress, lzma.compress, bytes])
def test_payloads_of_every_kind(tmp_path, pack, newc):
    path = tmp_path / "Chat.pkg"
    path.write_bytes(xar({"Distribution": b"", "Chat.pkg/Payload": pack(cpio(FILES, newc=newc))}))
    assert contents(path) == {f"Applications/{name}": data for name, data in FILES.items()}


def test_a_payload_that_xar_compressed(tmp_path):
    packed = zlib.compress(cpio(FILES))
    data = xar({"Payload": packed}, toc=toc("Payload", 20, len(packed), style="application/x-gzip"))
    (tmp_path / "a.pkg").write_bytes(data)
    assert len(contents(tmp_path / "a.pkg")) == len(FILES)


def test_files_that_nobody_loads_are_skipped(tmp_path):
    path = tmp_path / "Chat.pkg"
    path.write_bytes(xar({"Payload": gzip.compress(cpio(FILES))}))
    assert [file.path for file in payload_files(path)] == [f"Applications/{name}" for name in FILES]


def test_several_components(tmp_path):
    path = tmp_path / "Chat.pkg"
    parts = {f"{name}.pkg/Payload": gzip.compress(cpio({name: b"x"})) for name in ("one", "two")}
    path.write_bytes(xar(parts))
    assert sorted(contents(path)) == ["Applications/one", "Applications/two"]


def toc(name, offset, length, style="application/octet-stream", head=""):
    return (
        f"{head}<xar><toc><file><name>{name}</name><data><offset>{offset}</offset><length>{length}</length>"
        f'<encoding style="{style}"/></data></file></toc></xar>'
    )


DTD = '<!DOCTYPE xar [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xar({"Distribution": b""}), "has no Payload"),
        (xar({"Payload": b"AA01" + bytes(99)}), "not supported"),
        (xar({}, toc=toc("Payload", 20, 1 << 40)), "lies outside"),
        (xar({}, toc=toc("Payload", -99, 10)), "lies outside"),
        (xar({}, toc=toc("Payload", "x", 10)), "table of contents is damaged"),
        (xar({}, toc=toc("Payload", 0, 10, head=DTD)), "document type"),
        (xar({}, toc="<xar><toc>"), "table of contents is damaged"),
        (xar({"Payload": b""})[:40], "ends too early"),
        (xar({"Payload": gzip.compress(cpio(FILES))[:-5000]}), "damaged"),
        (xar({"Payload": gzip.compress(b"070707" + b"x" * 70)}), "damaged"),
        (xar({"Payload": gzip.compress(b"0707xx" + b"0" * 70)}), "an entry begins with"),
        (xar({"Payload": b"pbzx" + bytes(8) + struct.pack(">2Q", 1 << 40, 5) + b"xxxxx"}), "claims"),
        (struct.pack(">4s2H2QI", b"xar!", 28, 1, 1 << 40, 1 << 40, 1) + bytes(99), "that can be"),
    ],
)
def test_damaged_packages_are_refused_by_name(tmp_path, data, message):
    path = tmp_path / "Chat.pkg"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        contents(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.hint


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    header = f"070707{'000000' * 7}{0:011o}{2:06o}{(1 << 33) - 1:011o}".encode() + b"a\0"
    path = tmp_path / "Chat.pkg"
    path.write_bytes(xar({"Payload": gzip.compress(header)}))
    with pytest.raises(FormatError, match="a bomb"):
        contents(path)


PACKAGE = xar({"Chat.pkg/Payload": gzip.compress(cpio({"a": b"xyz" * 50}), mtime=0)})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(PACKAGE) - 1), value=st.integers(0, 255), end=st.integers(0, len(PACKAGE)))
def test_damage_anywhere_is_an_error_of_ours_or_harmless(tmp_path, at, value, end):
    data = bytearray(PACKAGE)
    data[at] = value
    path = tmp_path / "fuzzed.pkg"
    path.write_bytes(bytes(data[: max(end, 30)]) if end % 2 else bytes(data))
    with suppress(SlipwayError):
        contents(path)


def test_the_table_of_contents_tells_offsets_from_the_start_of_the_file():
    data = xar({"a": b"first", "folder/b": b"second"})
    first, second = read_toc(io.BytesIO(data), Path("x.pkg"))
    assert (first.path, data[first.offset : first.offset + first.length]) == ("a", b"first")
    assert (second.path, data[second.offset : second.offset + second.length]) == ("folder/b", b"second")
