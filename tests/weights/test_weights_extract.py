"""Archives made by somebody else: nothing lands outside, nothing special is written, bombs do not go off."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DownloadError
from pipeline.files.names import unsafe_path
from pipeline.weights import safe_extract
from pipeline.weights.safe_extract import extract

Member = tuple[str, bytes, str]


def zipped(path: Path, members: list[Member]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body, kind in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = {"file": stat.S_IFREG | 0o4755, "symlink": stat.S_IFLNK | 0o777}[kind] << 16
            archive.writestr(info, body, zipfile.ZIP_DEFLATED)


def tarred(path: Path, members: list[Member]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, body, kind in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o4755
            if kind == "file":
                info.size = len(body)
            else:
                info.type, info.linkname = tarfile.SYMTYPE, body.decode()
            archive.addfile(info, io.BytesIO(body) if kind == "file" else None)


MAKERS = pytest.mark.parametrize("make", [zipped, tarred])
Maker = Callable[[Path, list[Member]], None]


def everything(names: list[str]) -> dict[str, str]:
    return {name: name for name in names}


def unpack(tmp_path: Path, make: Maker, *members: Member) -> dict[str, bytes]:
    make(tmp_path / "archive", list(members))
    got = extract(tmp_path / "archive", tmp_path / "into", everything, where="the archive")
    files = {name: (tmp_path / "into" / name).read_bytes() for name in got}
    assert {name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()} == got
    return files


@MAKERS
def test_plain_files_with_plain_permissions(tmp_path: Path, make: Maker) -> None:
    assert unpack(tmp_path, make, ("a/b", b"1", "file"), ("c", b"", "file")) == {"a/b": b"1", "c": b""}
    assert (tmp_path / "into" / "c").stat().st_mode & 0o7111 == 0


@MAKERS
@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "a//evil", "./a/../evil", "C:/evil", "a\\..\\evil", "a/./evil"]
)
def test_a_path_that_could_land_elsewhere_is_refused_by_name(tmp_path: Path, make: Maker, name: str) -> None:
    with pytest.raises(DownloadError, match="the member"):
        unpack(tmp_path, make, (name, b"!", "file"))
    assert not list(tmp_path.rglob("*evil*"))


@MAKERS
def test_links_are_refused_and_never_followed(tmp_path: Path, make: Maker) -> None:
    with pytest.raises(DownloadError, match=r"'a' is a .*link"):
        unpack(tmp_path, make, ("a", b"/etc", "symlink"), ("a/passwd", b"!", "file"))
    assert not list(tmp_path.rglob("passwd"))


@MAKERS
def test_a_link_far_from_the_chosen_files_does_not_matter(tmp_path: Path, make: Maker) -> None:
    make(tmp_path / "archive", [("docs/link", b"x", "symlink"), ("docs/y", b"", "file"), ("model/w", b"w", "file")])
    got = extract(tmp_path / "archive", tmp_path / "into", lambda _: {"model/w": "w"}, where="it")
    assert list(got) == ["w"]


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w") as archive:
        info = tarfile.TarInfo("pipe")
        info.type = tarfile.FIFOTYPE
        archive.addfile(info)
    with pytest.raises(DownloadError, match="a special file"):
        extract(tmp_path / "archive", tmp_path / "into", everything, where="it")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@MAKERS
def test_two_members_of_one_name_are_refused(tmp_path: Path, make: Maker) -> None:
    with pytest.raises(DownloadError, match="two members named 'a'"):
        unpack(tmp_path, make, ("a", b"1", "file"), ("a", b"2", "file"))


@MAKERS
def test_two_members_for_one_path_are_refused(tmp_path: Path, make: Maker) -> None:
    make(tmp_path / "archive", [("a", b"", "file"), ("b", b"", "file")])
    with pytest.raises(DownloadError, match="two members would become 'x'"):
        extract(tmp_path / "archive", tmp_path / "into", lambda _: {"a": "x", "b": "x"}, where="it")


@MAKERS
def test_a_bomb_is_seen_before_it_goes_off(tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_extract, "_ALWAYS_FINE", 1000)
    with pytest.raises(DownloadError, match="a bomb"):
        unpack(tmp_path, make, *[(f"f{number}", bytes(2_000_000), "file") for number in range(5)])
    assert not (tmp_path / "into").exists()


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_extract, "_MEMBERS", 3)
    with pytest.raises(DownloadError, match="3 members"):
        unpack(tmp_path, zipped, *[(f"f{n}", b"", "file") for n in range(4)])


@MAKERS
def test_every_truncation_is_an_error_and_not_a_crash(tmp_path: Path, make: Maker) -> None:
    make(tmp_path / "whole", [("a", bytes(range(256)) * 20, "file"), ("b", b"x" * 99, "file")])
    whole = (tmp_path / "whole").read_bytes()
    for number, length in enumerate(range(0, len(whole) - 1, max(1, len(whole) // 50))):
        (tmp_path / "cut").write_bytes(whole[:length])
        try:
            got = extract(tmp_path / "cut", tmp_path / f"into{number}", everything, where="it")
        except DownloadError:
            continue
        assert {name: digest.size for name, digest in got.items()} == {"a": 5120, "b": 99}


def test_an_error_page_is_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("<html>sign in</html>")
    with pytest.raises(DownloadError, match="not a zip or tar"):
        extract(tmp_path / "archive", tmp_path / "into", everything, where="https://host/m.zip")


@given(st.text(alphabet="ab./\\:\0 ", max_size=12))
def test_a_path_that_is_let_through_stays_below(path: str) -> None:
    if unsafe_path(path) is None:
        base = Path("/base")
        assert (base / path).resolve().is_relative_to(base)
        assert (base / path) != base
        assert "\\" not in path
