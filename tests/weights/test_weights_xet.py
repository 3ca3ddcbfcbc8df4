"""Files that the hub keeps in Xet storage come by plain HTTP, whatever is installed and set, and go on after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_web import FakeHub, Fault
from fake_xet import FakeXet
from fetching import Fetcher

from pipeline.documents.codec import encode
from pipeline.errors import DownloadError
from pipeline.weights import hub as hub_source
from pipeline.weights import hub_child
from pipeline.weights.entry import Promise

SOURCE = {"kind": "hf", "hf": "org/tiny", "revision": "main"}
BODY = os.urandom(5_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def xet(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeXet:
    monkeypatch.setenv("HF_XET_HIGH_PERFORMANCE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "0")
    hub.files["model.bin"] = BODY
    return hub.store_in_xet()


def ranges(hub: FakeHub) -> list[str | None]:
    return [seen.headers.get("range") for seen in hub.server.gets("/storage/model.bin")]


def part(tmp_path: Path) -> Path:
    return tmp_path / "hf" / "hub" / "models--org--tiny" / "blobs" / f"{SHA256}.incomplete"


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_file_comes_whole_and_checked_and_nothing_else_is_written(
    hub: FakeHub, xet: FakeXet, get: Fetcher, tmp_path: Path
) -> None:
    entry, files = get(SOURCE)
    assert files == hub.files
    assert entry["files"]["model.bin"] == {"size": len(BODY), "sha256": SHA256}
    assert (xet.asked, ranges(hub)) == ([], [None])
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "hf", "log", "out1"}
    assert [path.name for path in (tmp_path / "hf").iterdir()] == ["hub"], "no cache or log of hf_xet's"
    large = [path for path in tmp_path.rglob("*") if path.lstat().st_size >= len(BODY)]
    assert large == [part(tmp_path).with_suffix("")], "it is there once"
    assert get(SOURCE, locked=entry) == (entry, files)
    assert ranges(hub) == [None]


def test_without_us_the_library_takes_it_by_xet(hub: FakeHub, xet: FakeXet, tmp_path: Path) -> None:
    """The control of the other tests: the stand-in is good enough for the real client."""
    pytest.importorskip("hf_xet")
    code = "import huggingface_hub; huggingface_hub.hf_hub_download('org/tiny', 'model.bin', revision='main')"
    hub.branch = "main"
    hub.commit, commit = "main", hub.commit
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    hub.commit = commit
    assert any(path.startswith("/xorbs/") for path in xet.asked)
    (found,) = [path for path in tmp_path.rglob("model.bin") if path.is_file()]
    assert found.read_bytes() == BODY


def test_it_goes_on_after_a_kill(
    hub: FakeHub, xet: FakeXet, get: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage is busy after the first part, so the child waits to try again when its parent is killed."""
    half = 2_000_000
    hub.server.faults["/storage/model.bin"] = [Fault(cut=half), *[Fault(status=503, headers={"Retry-After": "30"})] * 9]
    request, answer = tmp_path / "request.json", tmp_path / "answer.json"
    wanted = hub_child.Wanted("org/tiny", hub.commit, {"model.bin": Promise(len(BODY), SHA256)}, tmp_path / "progress")
    request.write_text(json.dumps(encode(wanted)))
    command = [sys.executable, "-m", hub_child.__name__, str(request), str(answer)]
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run({command})"])
    wait_until(lambda: len(ranges(hub)) == 2)
    parent.kill()
    parent.wait()
    wait_until(lambda: subprocess.run(["pgrep", "-f", str(request)], check=False).returncode == 1)
    assert part(tmp_path).stat().st_size == half
    hub.server.faults.clear()
    hub.server.requests.clear()
    monkeypatch.setattr(hub_source, "_LOOK_EVERY", 0.001)
    assert get({**SOURCE, "files": ["model.bin"]})[1] == {"model.bin": BODY}
    assert ranges(hub) == [f"bytes={half}-"]
    assert not part(tmp_path).exists()
    assert get.progress == sorted(get.progress)
    assert get.progress[0] == (half, len(BODY)), "what had come before counts"


def test_wrong_bytes_are_refused_and_not_kept(hub: FakeHub, xet: FakeXet, get: Fetcher, tmp_path: Path) -> None:
    wrong = bytes([BODY[0] ^ 1]) + BODY[1:]
    hub.digests["model.bin"] = SHA256
    hub.files["model.bin"] = wrong
    with pytest.raises(DownloadError, match=f"is not what was promised: expected sha256 {SHA256}") as caught:
        get(SOURCE)
    assert "hf org/tiny@main" in str(caught.value)
    assert not list(part(tmp_path).parent.glob(f"{SHA256}*"))
    for said in (str(caught.value), get.log.read_text()):
        assert "storagesecret" not in said
    hub.files["model.bin"] = BODY
    assert get(SOURCE)[1] == hub.files


def test_a_half_done_file_that_was_spoilt_is_fetched_from_the_start(
    hub: FakeHub, xet: FakeXet, get: Fetcher, tmp_path: Path
) -> None:
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(b"X" * 1000)
    assert get(SOURCE)[1] == hub.files
    assert ranges(hub) == ["bytes=1000-", None]


def test_an_answer_of_the_storage_that_is_no_file(hub: FakeHub, xet: FakeXet, get: Fetcher) -> None:
    hub.server.faults["/storage/model.bin"] = [Fault(status=403)]
    with pytest.raises(DownloadError, match="a file of the hub's did not arrive: HTTP status 403") as caught:
        get(SOURCE)
    assert "HF_ENDPOINT" in str(caught.value)


def test_a_login_of_the_machine_does_not_replace_the_token(
    hub: FakeHub, xet: FakeXet, get: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HF_TOKEN", "hf_topsecretvalue")
    get(SOURCE)
    resolved = hub.server.gets(f"/{hub.repo}/resolve/{hub.commit}/model.bin")
    assert {seen.headers.get("authorization") for seen in resolved} == {"Bearer hf_topsecretvalue"}
