"""Repositories of the hub, through the real library and a fake of the hub on this machine."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest
from fake_web import FakeHub, FakeServer
from fetching import Fetcher

from pipeline.errors import DownloadError, StoreError
from pipeline.weights import hub as hub_source

SOURCE = {"kind": "hf", "hf": "org/tiny", "revision": "main"}


def test_a_branch_becomes_a_commit_and_files(hub: FakeHub, get: Fetcher, tmp_path: Path) -> None:
    entry, files = get(SOURCE)
    assert files == hub.files
    assert entry["resolved"] == hub.commit
    assert {path: item["size"] for path, item in entry["files"].items()} == {p: len(b) for p, b in hub.files.items()}
    assert list((tmp_path / "hf").rglob("model.bin")), "it is in the hub's own cache, for other programs"


def test_a_locked_source_stays_at_its_commit_without_the_network(hub: FakeHub, get: Fetcher) -> None:
    entry, files = get(SOURCE)
    hub.commit, hub.files = "b" * 40, {"config.json": b"moved on"}
    asked = len(hub.server.requests)
    assert get(SOURCE, locked=entry) == (entry, files)
    assert len(hub.server.requests) == asked


def test_chosen_files_only(hub: FakeHub, get: Fetcher) -> None:
    assert set(get({**SOURCE, "files": ["*.json", "a/*"]})[1]) == {"config.json", "a/b.txt"}
    with pytest.raises(DownloadError, match=r"did you mean `model.bin`\?"):
        get({**SOURCE, "files": ["models.bin"]})
    source = {**SOURCE, "subdir": "a"}
    entry, files = get(source)
    assert files == {"b.txt": b"b"}
    assert get(source, locked=entry) == (entry, files)


def test_the_token_is_sent_to_the_hub_and_shown_to_nobody(
    hub: FakeHub, get: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_topsecretvalue")
    get(SOURCE)
    assert {seen.headers.get("authorization") for seen in hub.server.requests if "/api/" in seen.path} == {
        "Bearer hf_topsecretvalue"
    }
    assert {seen.headers.get("authorization") for seen in hub.server.requests if "/storage/" in seen.path} == {None}
    assert "topsecret" not in get.log.read_text()


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        ((403, "GatedRepo"), "does not let you read", "HF_TOKEN"),
        ((401, "RepoNotFound"), "no such repository, or it is private", "HF_TOKEN"),
        ((404, "RevisionNotFound"), "no such revision", "`revision`"),
        ((500, ""), "an error of its own", "wait a little"),
    ],
)
def test_a_refusal(hub: FakeHub, get: Fetcher, error: tuple[int, str], what: str, hint: str) -> None:
    hub.error = error
    with pytest.raises(DownloadError, match=what) as caught:
        get(SOURCE)
    assert hint in str(caught.value)
    assert "org/tiny@main" in str(caught.value)


def test_access_that_was_withdrawn_after_locking(hub: FakeHub, get: Fetcher, tmp_path: Path) -> None:
    entry, _ = get(SOURCE)
    shutil.rmtree(tmp_path / "hf")
    hub.error = (403, "GatedRepo")
    with pytest.raises(DownloadError, match="does not let you read"):
        get(SOURCE, locked=entry)


def test_no_network(get: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(DownloadError, match="could not be reached") as caught:
        get(SOURCE)
    assert "HF_ENDPOINT" in str(caught.value)


def test_offline(hub: FakeHub, get: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, files = get(SOURCE)
    asked = len(hub.server.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get(SOURCE, locked=entry)[1] == files
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        get(SOURCE)
    shutil.rmtree(tmp_path / "hf")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        get(SOURCE, locked=entry)
    assert len(hub.server.requests) == asked


def test_a_file_that_was_cut_in_the_hubs_cache_is_fetched_again(hub: FakeHub, get: Fetcher, tmp_path: Path) -> None:
    entry, files = get(SOURCE)
    next((tmp_path / "hf").rglob("model.bin")).resolve().write_bytes(b"cut")
    assert get(SOURCE, locked=entry) == (entry, files)


def test_a_file_that_was_edited_in_the_hubs_cache_is_refused(hub: FakeHub, get: Fetcher, tmp_path: Path) -> None:
    entry, _ = get(SOURCE)
    blob = next((tmp_path / "hf").rglob("model.bin")).resolve()
    blob.write_bytes(b"X" * len(hub.files["model.bin"]))
    with pytest.raises(DownloadError, match=r"model\.bin: expected sha256") as caught:
        get(SOURCE, locked=entry)
    assert str(blob) in str(caught.value)


def test_what_the_hub_promises_is_checked_on_first_sight(hub: FakeHub, get: Fetcher) -> None:
    hub.digests["model.bin"] = "0" * 64
    with pytest.raises(DownloadError):
        get(SOURCE)


def test_a_file_name_from_the_hub_cannot_leave_the_directory(hub: FakeHub, get: Fetcher, tmp_path: Path) -> None:
    hub.files["../../evil"] = b"!"
    with pytest.raises(DownloadError):
        get(SOURCE)
    assert not list(tmp_path.rglob("evil"))


def test_a_bad_name(hub: FakeHub, get: Fetcher) -> None:
    with pytest.raises(DownloadError, match="no name of a repository"):
        get({**SOURCE, "hf": "not a/na/me"})


def test_a_cache_of_the_hub_that_cannot_be_written(
    hub: FakeHub, get: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="HF_HUB_CACHE"):
        get(SOURCE)


def test_a_child_that_dies_without_an_answer(hub: FakeHub, get: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(DownloadError, match="ended with status 1 and no answer"):
        get(SOURCE)


def test_what_the_child_tells_is_reported_as_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_source, "_LOOK_EVERY", 0.001)
    seen: list[tuple[float, float | None]] = []
    arrived = threading.Event()

    def progress(done: float, total: float | None) -> None:
        seen.append((done, total))
        if done == 200:
            arrived.set()

    with hub_source._reported(tmp_path / "told", 300, progress):
        for said in ("100", "", "20", "200"):
            (tmp_path / "told").write_text(said)
        assert arrived.wait(10)
    assert seen[-1] == (200, 300)
