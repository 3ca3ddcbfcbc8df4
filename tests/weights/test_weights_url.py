"""Downloads over HTTP against a real local server: what arrives, what is refused, what is kept for the next try."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from fake_web import FakeServer, Fault
from fetching import Fetcher, zip_of

from pipeline.errors import DownloadError, StoreError
from pipeline.transport.http import Patience
from pipeline.weights import download as downloading
from pipeline.weights.cache import DownloadCache
from pipeline.weights.download import Part, download

BODY = os.urandom(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=3, first_wait=0.0, connect=2.0, read=2.0)


def try_download(
    server: FakeServer, tmp_path: Path, *, sha256: str | None = None, waits: list[float] | None = None
) -> bytes:
    target = tmp_path / "target"
    download(
        f"{server.url}/m.bin", target, part=Part.of_url(tmp_path / "state"), sha256=sha256, progress=lambda *_: None,
        patience=QUICK, sleep=(waits if waits is not None else []).append,
    )  # fmt: skip
    return target.read_bytes()


def test_a_file_is_downloaded_locked_and_then_taken_from_the_cache(server: FakeServer, get: Fetcher) -> None:
    server.files["/m.bin"] = BODY
    source = {"kind": "url", "url": f"{server.url}/m.bin"}
    entry, files = get(source)
    assert files == {"m.bin": BODY}
    assert entry["files"] == {"m.bin": {"size": len(BODY), "sha256": SHA256}}
    assert get.progress[-1] == (len(BODY), len(BODY))
    asked = len(server.requests)
    again, files = get(source, locked=entry)
    assert (again, files) == (entry, {"m.bin": BODY})
    assert len(server.requests) == asked


def test_a_cut_connection_is_resumed_where_it_ended(server: FakeServer, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    server.faults["/m.bin"] = [Fault(cut=100_000), Fault(cut=50_000)]
    assert try_download(server, tmp_path, sha256=SHA256) == BODY
    ranges = [seen.headers.get("range") for seen in server.gets("/m.bin")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_download_that_never_ends_whole_fails_and_keeps_what_came(server: FakeServer, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    server.faults["/m.bin"] = [Fault(cut=1000)] * QUICK.attempts
    with pytest.raises(DownloadError, match="in 3 attempts") as caught:
        try_download(server, tmp_path)
    assert "run doit again" in str(caught.value)
    assert not (tmp_path / "target").exists()
    assert try_download(server, tmp_path) == BODY
    assert server.gets("/m.bin")[-1].headers["range"] == "bytes=3000-"


def test_a_file_that_changed_meanwhile_is_not_glued_to_its_old_half(server: FakeServer, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    server.faults["/m.bin"] = [Fault(cut=1000)] * QUICK.attempts
    with pytest.raises(DownloadError):
        try_download(server, tmp_path)
    server.files["/m.bin"] = BODY[::-1]
    assert try_download(server, tmp_path) == BODY[::-1]


@pytest.mark.parametrize("missing", ["validators", "ranges", "lengths"])
def test_a_server_without(server: FakeServer, tmp_path: Path, missing: str) -> None:
    setattr(server, missing, False)
    server.files["/m.bin"] = BODY
    if missing != "lengths":  # without a length nobody can tell that something is missing
        server.faults["/m.bin"] = [Fault(cut=1000)]
    assert try_download(server, tmp_path) == BODY


def test_a_whole_part_left_by_a_killed_run_is_recognised(server: FakeServer, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "part").write_bytes(BODY)
    (tmp_path / "state" / "validator.json").write_text(f'"\\"{SHA256}\\""')
    assert try_download(server, tmp_path) == BODY
    assert len(server.requests) == 1


def test_a_spoilt_half_is_thrown_away_when_the_sum_shows_it(server: FakeServer, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "part").write_bytes(b"x" * 1000)
    (tmp_path / "state" / "validator.json").write_text(f'"\\"{SHA256}\\""')
    assert try_download(server, tmp_path, sha256=SHA256) == BODY


def test_a_busy_server_is_asked_again_after_the_pause_it_wants(server: FakeServer, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    server.faults["/m.bin"] = [Fault(status=503), Fault(status=429, headers={"Retry-After": "7"})]
    waits: list[float] = []
    assert try_download(server, tmp_path, waits=waits) == BODY
    assert waits == [0.0, 7.0]


def test_pauses_grow_and_vary(server: FakeServer, tmp_path: Path) -> None:
    server.faults["/m.bin"] = [Fault(status=500)] * 9
    waits: list[float] = []
    patience = Patience(attempts=5, first_wait=1.0, longest_wait=6.0)
    with pytest.raises(DownloadError, match="HTTP status 500"):
        download(
            f"{server.url}/m.bin", tmp_path / "t", part=Part.of_url(tmp_path / "s"), sha256=None,
            progress=lambda *_: None, patience=patience, sleep=waits.append,
        )  # fmt: skip
    assert [low <= wait <= 3 * low for wait, low in zip(waits, (0.5, 1, 2, 4), strict=True)] == [True] * 4
    assert max(waits) <= 6.0


@pytest.mark.parametrize(("status", "hint"), [(404, "does not have it"), (401, "netrc"), (403, "netrc")])
def test_a_refusal_is_final_and_says_what_to_do(server: FakeServer, tmp_path: Path, status: int, hint: str) -> None:
    server.faults["/m.bin"] = [Fault(status=status)]
    with pytest.raises(DownloadError, match=f"HTTP status {status}") as caught:
        try_download(server, tmp_path)
    assert hint in str(caught.value)
    assert len(server.requests) == 1


def test_no_network(tmp_path: Path, get: Fetcher) -> None:
    with FakeServer() as gone:
        url = f"{gone.url}/m.bin"
    with pytest.raises(DownloadError, match="in 3 attempts") as caught:
        download(
            url, tmp_path / "t", part=Part.of_url(tmp_path / "s"), sha256=None, progress=lambda *_: None,
            patience=QUICK, sleep=lambda _: None,
        )  # fmt: skip
    assert "HTTPS_PROXY" in str(caught.value)


def test_other_content_than_promised_is_refused_and_nothing_is_kept(server: FakeServer, get: Fetcher) -> None:
    server.files["/m.bin"] = BODY
    source = {"url": f"{server.url}/m.bin"}
    entry, _ = get(source)
    cached = get.cache.blob(SHA256)
    shutil.move(cached, cached.with_suffix(".aside"))
    server.files["/m.bin"] = b"something else"
    with pytest.raises(DownloadError) as caught:
        get(source, locked=entry)
    for part in ("m.bin", SHA256, hashlib.sha256(b"something else").hexdigest(), "slipway.lock"):
        assert part in str(caught.value)
    assert not get.cache.blob(hashlib.sha256(b"something else").hexdigest()).exists()
    server.files["/m.bin"] = BODY
    assert get(source, locked=entry)[1] == {"m.bin": BODY}


def test_a_promise_in_the_matrix_is_checked_on_first_sight(server: FakeServer, get: Fetcher) -> None:
    server.files["/m.bin"] = BODY
    with pytest.raises(DownloadError, match="correct `sha256`"):
        get({"url": f"{server.url}/m.bin", "sha256": "0" * 64})
    assert get({"url": f"{server.url}/m.bin", "sha256": SHA256})[1] == {"m.bin": BODY}
    asked = len(server.requests)
    assert get({"url": f"{server.url}/elsewhere/m.bin", "sha256": SHA256})[1] == {"m.bin": BODY}
    assert len(server.requests) == asked, "the same content needs no second download, wherever it comes from"


def test_a_spoilt_file_in_the_cache_is_fetched_again(server: FakeServer, get: Fetcher) -> None:
    server.files["/m.bin"] = BODY
    source = {"url": f"{server.url}/m.bin"}
    entry, _ = get(source)
    with get.cache.blob(SHA256).open("r+b") as file:
        file.write(b"edited")
    assert get(source, locked=entry)[1] == {"m.bin": BODY}


def test_redirects_are_followed(server: FakeServer, get: Fetcher) -> None:
    server.files["/storage/x"] = BODY
    server.redirects["/m.bin"] = "/storage/x"
    assert get({"url": f"{server.url}/m.bin"})[1] == {"m.bin": BODY}


def test_secrets_of_a_url_are_used_and_never_shown(server: FakeServer, get: Fetcher, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    base = server.url.replace("//", "//user:hunter2@")
    source = {"url": f"{base}/m.bin?sig=topsecret&part=1"}
    entry, _ = get(source)
    assert server.requests[-1].headers["authorization"].startswith("Basic ")
    assert entry["source"] == {"url": f"{server.url}/m.bin?sig=***&part=1"}
    server.faults["/m.bin"] = [Fault(status=404)]
    with pytest.raises(DownloadError) as caught:
        get(source)
    everything = [str(caught.value), str(entry), *(str(p) for p in (tmp_path / "cache").rglob("*"))]
    everything += [p.read_bytes().decode(errors="replace") for p in tmp_path.rglob("*") if p.is_file()]
    assert not [text for text in everything if "hunter2" in text or "topsecret" in text]


def test_a_login_comes_from_netrc(server: FakeServer, get: Fetcher, tmp_path: Path) -> None:
    server.files["/m.bin"] = BODY
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1 login me password pw\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    get({"url": f"{server.url}/m.bin"})
    assert "authorization" in server.requests[-1].headers


def test_too_little_space_is_told_before_the_download(
    server: FakeServer, get: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.bin"] = BODY
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match="300000 bytes are to come and 1000 are free"):
        get({"url": f"{server.url}/m.bin"})


def test_a_disk_that_gets_full_keeps_what_came(
    server: FakeServer, get: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.bin"] = BODY
    real = Path.open

    def full(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        # The kernel itself says that it is full, for every write to this device.
        return real(Path("/dev/full") if self.name == "part" else self, mode, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StoreError, match="no space left") as caught:
        get({"url": f"{server.url}/m.bin"})
    assert "SLIPWAY_CACHE" in str(caught.value)
    assert not get.cache.blob(SHA256).exists()


def test_a_cache_that_cannot_be_made(get: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StoreError, match="SLIPWAY_CACHE"):
        get({"url": "http://127.0.0.1:1/m.bin"})


def test_an_archive_is_extracted_by_choice(server: FakeServer, get: Fetcher) -> None:
    server.files["/m.zip"] = zip_of({"top/model/config.json": b"{}", "top/model/w.bin": b"w", "top/README": b"r"})
    url = f"{server.url}/m.zip"
    assert get({"url": url, "subdir": "top/model"})[1] == {"config.json": b"{}", "w.bin": b"w"}
    assert get({"url": url, "files": ["*.json"]})[1] == {"top/model/config.json": b"{}"}
    assert set(get({"url": url})[1]) == {"top/model/config.json", "top/model/w.bin", "top/README"}
    assert set(get({"url": url, "extract": False})[1]) == {"m.zip"}
    entry, _ = get({"url": url, "subdir": "top/model"})
    asked = len(server.requests)
    assert get({"url": url, "subdir": "top/model"}, locked=entry)[1] == {"config.json": b"{}", "w.bin": b"w"}
    assert len(server.requests) == asked


def test_a_tar_is_extracted_too(server: FakeServer, get: Fetcher) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("./model/w.bin")
        info.size = len(BODY)
        archive.addfile(info, io.BytesIO(BODY))
    server.files["/m.tar.gz"] = buffer.getvalue()
    assert get({"url": f"{server.url}/m.tar.gz", "subdir": "model"})[1] == {"w.bin": BODY}


def test_several_names_below_a_url(server: FakeServer, get: Fetcher) -> None:
    server.files |= {"/m/config.json": b"{}", "/m/a/w 1.bin": BODY}
    source = {"url": f"{server.url}/m/", "files": ["config.json", "a/w 1.bin"]}
    entry, files = get(source)
    assert files == {"config.json": b"{}", "a/w 1.bin": BODY}
    get.cache.blob(SHA256).unlink()
    asked = len(server.requests)
    assert get(source, locked=entry)[1] == files
    assert [seen.path for seen in server.requests[asked:]] == ["/m/a/w 1.bin"], "only what is missing is fetched"
    assert get.progress[-1] == (len(BODY) + 2, len(BODY) + 2)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ({"url": "http://[bad/x"}, "not an http or https URL"),
        ({"url": "http://host/m/"}, "needs `files`"),
        ({"url": "http://host/m/", "files": ["*.bin"]}, "is a pattern"),
        ({"url": "http://host/m/", "files": ["../x"]}, "leaves its directory"),
        ({"url": "http://host/m.bin", "files": ["x"]}, "need an archive"),
    ],
)
def test_a_source_of_no_use(get: Fetcher, source: dict[str, object], what: str) -> None:
    with pytest.raises(DownloadError, match=what):
        get(source)


def test_scratch_of_killed_runs_is_swept(tmp_path: Path) -> None:
    cache = DownloadCache(tmp_path / "c")
    (tmp_path / "c" / "tmp" / "left" / "half").mkdir(parents=True)
    with cache.scratch() as one, cache.scratch() as other:
        assert sorted(one.parent.iterdir()) == sorted([one, other]), "who lives keeps his"
    assert not list(one.parent.iterdir())
