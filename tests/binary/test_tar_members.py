"""TVM's tar: read in memory, and nothing in it may lead anywhere else."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.binary.ar import Member
from pipeline.binary.tar_members import read_tar
from pipeline.errors import FormatError

FILES = [("lib0.o", b"host"), ("bert_devc.o", b"blob")]


def tar(files: list[tuple[str, bytes]], mode: str = "w:gz", **fields: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for key, value in fields.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w:gz", "w:"])
@pytest.mark.parametrize("files", [FILES, FILES[::-1]])
def test_members_come_sorted_whatever_the_order_and_the_dates(mode, files):
    for date in (0, 1234567890):
        assert read_tar(tar(files, mode, mtime=date)) == (Member("bert_devc.o", b"blob"), Member("lib0.o", b"host"))


def test_directories_and_apple_double_files_are_left_out():
    files = [("._lib0.o", b"junk"), ("sub/._x.o", b"junk"), ("./lib0.o", b"host")]
    assert read_tar(tar(files)) == (Member("lib0.o", b"host"),)
    assert read_tar(tar([("sub", b"")], type=tarfile.DIRTYPE)) == ()


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.o", "a/../../x.o", "..", "a\\b.o"])
def test_names_that_lead_outside_are_refused(name):
    with pytest.raises(FormatError, match="leads outside"):
        read_tar(tar([(name, b"x")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_anything_but_plain_files_is_refused(kind):
    with pytest.raises(FormatError, match="no plain file"):
        read_tar(tar([("lib0.o", b"")], type=kind, linkname="target.o"))


def test_one_name_twice_is_refused():
    with pytest.raises(FormatError, match=r"two files called lib0\.o"):
        read_tar(tar([("lib0.o", b"1"), ("./lib0.o", b"2")]))


def test_a_gzip_bomb_is_not_unpacked():
    with pytest.raises(FormatError, match="larger than 1000 bytes"):
        read_tar(gzip.compress(b"\0" * 10_000_000), limit=1000)


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b", b"plain", tar(FILES)[:-9], tar(FILES, "w:")[:700], gzip.compress(b"x" * 600, mtime=0)]
)
def test_damaged_files_are_refused_by_name(data):
    with pytest.raises(FormatError, match=r"^bert\.tar: is no whole") as caught:
        read_tar(data, "bert.tar")
    assert caught.value.hint


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=30), st.sampled_from(["w:", "w:gz"]))
@settings(max_examples=300)
def test_no_damage_ends_in_anything_but_a_format_error(at, noise, mode):
    data = bytearray(tar([*FILES, ("a" * 150, b"long")], mode))
    start = at % len(data)
    data[start : start + len(noise)] = noise
    try:
        assert isinstance(read_tar(bytes(data), limit=1 << 20), tuple)
    except FormatError as error:
        assert error.hint  # noqa: PT017 - either outcome is right; no other exception is
