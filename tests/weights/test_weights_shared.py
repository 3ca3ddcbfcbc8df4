"""Weights of every source share their content with the store and the tree, where the user does not own them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_web import FakeHub, FakeServer
from fetching import contents, source_of

from pipeline.files import sharing
from pipeline.store.action_result import ActionResult, key_of
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.weights.fetch import Fetched, fetch

LARGE = bytes(range(256)) * 8192


def placed(tmp_path: Path, got: Fetched, tree: Path) -> Path:
    """Commit and materialise weights as the engine does; gives the path of the blob of `w.bin`."""
    store = Store(tmp_path / "store")
    linked = {path: (file, got.entry.files[path].digest) for path, file in got.files.items()}
    result = store.commit(ActionResult(key_of({}), "weights:m"), {}, linked=linked)
    store.materialise(result, tree, (), StatCache(), link=True)
    store.close()
    return Path(store.blobs.path(result.outputs["w.bin"].sha256))


def get(tmp_path: Path, source: dict[str, str], path: Path | None = None) -> Fetched:
    out = tmp_path / "out"
    out.mkdir()
    log = tmp_path / "log"
    return fetch("m", source_of(source), locked=None, path=path, out=out, log=log, progress=lambda *_: None)


def test_a_package(tmp_path: Path, wheels: Callable[..., Path]) -> None:
    wheels("1.0", {"m/w.bin": LARGE})
    got = get(tmp_path, {"package": "tiny-model", "version": "1.0", "subdir": "m"})
    blob = placed(tmp_path, got, tmp_path / "tree")
    assert contents(tmp_path / "tree") == {"w.bin": LARGE}
    if not sharing.reflink(str(blob), str(tmp_path / "clone")):
        assert blob.samefile(got.files["w.bin"])
        assert blob.samefile(tmp_path / "tree" / "w.bin")
        assert blob.stat().st_nlink == 3


def test_the_cache_of_the_hub_shares_too(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    FakeHub(server, files={"w.bin": LARGE, "config.json": b"{}"}, large={"w.bin"})
    got = get(tmp_path, {"hf": "org/tiny", "revision": "main"})
    blob = placed(tmp_path, got, tmp_path / "tree")
    assert (tmp_path / "tree" / "w.bin").read_bytes() == LARGE
    if not sharing.reflink(str(blob), str(tmp_path / "clone")):
        assert blob.samefile(got.files["w.bin"])


def test_a_users_own_file_is_never_linked_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "w.bin").write_bytes(LARGE)
    before = (mine / "w.bin").stat()
    got = get(tmp_path, {"path": "mine"}, path=mine)
    blob = placed(tmp_path, got, tmp_path / "tree")
    (mine / "w.bin").write_bytes(b"edited")
    assert blob.read_bytes() == LARGE
    assert (mine / "w.bin").stat().st_mode == before.st_mode
    assert (mine / "w.bin").stat().st_nlink == 1
