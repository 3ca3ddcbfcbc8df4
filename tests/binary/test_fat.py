"""Fat files: the bytes of llvm-lipo, and slices that cannot stand together."""

from __future__ import annotations

import struct

import pytest
from binary_builders import Sym, macho_object
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.fat import Slice, is_fat, read_fat, write_fat
from pipeline.errors import FormatError


def archive(arch: str, size: int = 3, platform: str = "maccatalyst") -> Slice:
    symbols = [Sym(f"_{arch}_{i}") for i in range(size)]
    return Slice(arch, write_archive([Member("a.o", macho_object(symbols, arch=arch, platform=platform))], "darwin"))


def thin(arch: str) -> Slice:
    return Slice(arch, macho_object([Sym("_a")], arch=arch))


@pytest.mark.parametrize(
    "slices",
    [
        [archive("arm64"), archive("x86_64", 50)],
        [archive("x86_64"), archive("arm64")],
        [archive("arm64")],
        [archive("arm64e"), archive("arm64"), archive("x86_64")],
        [thin("arm64"), thin("x86_64")],
    ],
    ids=["archives", "other-order", "one", "three", "objects"],
)
def test_bytes_equal_llvm_lipo(tool, tmp_path, slices):
    for piece in slices:
        (tmp_path / piece.arch).write_bytes(piece.data)
    tool("llvm-lipo", "-create", *[piece.arch for piece in slices], "-output", "fat", cwd=tmp_path)
    assert write_fat(slices) == (tmp_path / "fat").read_bytes()


def test_bytes_of_dynamic_libraries_equal_llvm_lipo(tool, link_dylib, tmp_path):
    slices = [
        Slice(arch, link_dylib(archive(arch).data, arch=arch, platform="maccatalyst")) for arch in ("arm64", "x86_64")
    ]
    for piece in slices:
        (tmp_path / piece.arch).write_bytes(piece.data)
    tool("llvm-lipo", "-create", "arm64", "x86_64", "-output", "fat", cwd=tmp_path)
    assert write_fat(slices) == (tmp_path / "fat").read_bytes()


def test_round_trip():
    slices = (archive("x86_64", 9), archive("arm64"))
    joined = write_fat(slices)
    assert is_fat(joined)
    assert read_fat(joined) == slices
    assert write_fat(reversed(slices)) == joined


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([Slice("arm64", archive("x86_64").data)], "said to be for arm64 is for x86_64"),
        ([Slice("arm64", write_archive([], "darwin"))], "empty archive"),
        ([Slice("arm64", b"text")], "not a Mach-O file"),
        ([Slice("arm64", write_archive([Member("t", b"text")], "darwin"))], r"\(t\): is not a Mach-O"),
        (
            [
                Slice(
                    "arm64",
                    write_archive([Member(a, macho_object(arch=a)) for a in ("arm64", "x86_64")], "darwin"),
                )
            ],
            "arm64 and x86_64",
        ),
    ],
)
def test_slices_that_are_not_what_they_claim_are_refused(slices, message):
    with pytest.raises(FormatError, match=message):
        write_fat(slices)


def test_64_bit_fat_files_are_read():
    piece = archive("arm64")
    header = struct.pack(">2I", 0xCAFEBABF, 1) + struct.pack(">2I2Q2I", 0x0100000C, 0, 64, len(piece.data), 3, 0)
    assert read_fat(header.ljust(64, b"\0") + piece.data) == (piece,)


def test_a_java_class_is_no_fat_file():
    java = b"\xca\xfe\xba\xbe\0\0\0\x41" + b"\0" * 100
    assert not is_fat(java)
    with pytest.raises(FormatError, match="no fat file"):
        read_fat(java)


def test_overlapping_and_repeated_slices_are_refused():
    def header(*places: tuple[int, int]) -> bytes:
        slices = b"".join(struct.pack(">5I", 0x0100000C, 0, offset, size, 3) for offset, size in places)
        return (struct.pack(">2I", 0xCAFEBABE, len(places)) + slices).ljust(128, b"\0")

    with pytest.raises(FormatError, match="overlaps"):
        read_fat(header((64, 32), (80, 32)))
    with pytest.raises(FormatError, match="overlaps"):
        read_fat(header((0, 32)))
    with pytest.raises(FormatError, match="two slices for arm64"):
        read_fat(header((64, 16), (80, 16)))
    with pytest.raises(FormatError, match="goes beyond"):
        read_fat(header((64, 1000)))


@given(st.binary(max_size=60), st.integers(0, 200))
@settings(max_examples=200)
def test_no_damage_ends_in_anything_but_a_format_error(noise, at):
    joined = write_fat([archive("arm64"), archive("x86_64")])
    for damaged in (joined[:at] + noise + joined[at + len(noise) :], joined[:at], b"\xca\xfe\xba\xbe" + noise):
        try:
            assert isinstance(read_fat(damaged), tuple)
        except FormatError as error:
            assert error.hint  # noqa: PT017 - either outcome is right; no other exception is
