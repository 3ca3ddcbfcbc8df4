"""Weights that are already on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fetching import Fetcher

from pipeline.errors import DownloadError

SOURCE = {"kind": "path", "path": "mine"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "deep" / "w.bin").write_bytes(b"weights")
    return folder


def test_a_directory_is_copied(mine: Path, get: Fetcher) -> None:
    entry, files = get(SOURCE, path=mine)
    assert files == {"config.json": b"{}", "deep/w.bin": b"weights"}
    assert entry["files"]["config.json"]["size"] == 2
    assert (mine / "config.json").stat().st_nlink == 1, "a link would let an edit of the output change the user's file"


def test_one_file_is_copied(mine: Path, get: Fetcher) -> None:
    assert get(SOURCE, path=mine / "config.json")[1] == {"config.json": b"{}"}


def test_links_are_followed_as_in_snapshots_of_the_hub(mine: Path, get: Fetcher, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "w.bin").symlink_to(mine / "deep" / "w.bin")
    (snapshot / "more").symlink_to(mine, target_is_directory=True)
    assert set(get(SOURCE, path=snapshot)[1]) == {"w.bin", "more/config.json", "more/deep/w.bin"}


def test_files_and_subdir_choose(mine: Path, get: Fetcher) -> None:
    assert get({**SOURCE, "subdir": "deep"}, path=mine)[1] == {"w.bin": b"weights"}
    assert get({**SOURCE, "files": ["*.json"]}, path=mine)[1] == {"config.json": b"{}"}


def test_what_is_no_file_is_refused(mine: Path, get: Fetcher) -> None:
    os.mkfifo(mine / "pipe")
    with pytest.raises(DownloadError, match="not a plain file"):
        get(SOURCE, path=mine)
    (mine / "pipe").unlink()
    (mine / "dangling").symlink_to("nowhere")
    with pytest.raises(DownloadError, match="leads nowhere"):
        get(SOURCE, path=mine)
    (mine / "dangling").unlink()
    (mine / "deep" / "loop").symlink_to(mine, target_is_directory=True)
    with pytest.raises(DownloadError, match="leads back"):
        get(SOURCE, path=mine)


def test_an_empty_directory_is_no_model(get: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DownloadError, match="no files in it"):
        get(SOURCE, path=tmp_path / "empty")


def test_links_that_double_at_every_level_end_soon(mine: Path, get: Fetcher) -> None:
    for level in range(40):
        (mine / f"l{level}").mkdir()
        for name in "ab":
            (mine / f"l{level}" / name).symlink_to(mine / f"l{level + 1}", target_is_directory=True)
    (mine / "l40").mkdir()
    with pytest.raises(DownloadError, match="links to directories"):
        get(SOURCE, path=mine)
