"""Weights lie on the disk once, and are read for hashing once, from the network to what an app ships."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_web import FakeServer
from projects import TINY, Project

SIZE = 24 << 20
LARGE = os.urandom(SIZE)

COUNTER = """
import atexit, hashlib, os
_real, _bytes = hashlib.sha256, [0]

class Counting:
    def __init__(self, data=b"", **more):
        self._hash = _real(**more)
        self.update(data)

    def update(self, data):
        _bytes[0] += len(memoryview(data).cast("B")) if data else 0
        self._hash.update(data)

    def __getattr__(self, name):
        return getattr(self._hash, name)

hashlib.sha256 = Counting
atexit.register(lambda: open(os.environ["HASHED"], "a").write(f"{_bytes[0]}\\n"))
"""
"""Counts, in every process of a run, the bytes that go into a SHA-256."""


@pytest.fixture
def web() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def hashed(project: Project, tmp_path: Path) -> Callable[[], int]:
    """Has hashing counted from now on; called, it gives the bytes so far and begins anew."""
    (tmp_path / "count").mkdir()
    (tmp_path / "count" / "sitecustomize.py").write_text(COUNTER)
    log = tmp_path / "hashed"
    project.env |= {"PYTHONPATH": str(tmp_path / "count"), "HASHED": str(log)}

    def total() -> int:
        found = sum(map(int, log.read_text().split()))
        log.unlink()
        return found

    return total


def on_disk(*folders: Path) -> int:
    """Bytes of the disk that files of a megabyte and more take, each inode once."""
    states = {
        (state.st_dev, state.st_ino): state.st_blocks * 512
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and (state := path.stat()).st_size >= 1 << 20
    }
    return sum(states.values())


def has_reflinks(folder: Path) -> bool:
    from pipeline.files.sharing import reflink

    (folder / "one").write_bytes(b"x" * 8192)
    return reflink(str(folder / "one"), str(folder / "two"))


def test_downloaded_weights_are_one_file_and_read_once(
    project: Project, web: FakeServer, hashed: Callable[[], int], tmp_path: Path
) -> None:
    names = ["large.bin", *(path.name for path in (TINY / "weights").iterdir())]
    web.files |= {f"/w/{path.name}": path.read_bytes() for path in (TINY / "weights").iterdir()}
    web.files["/w/large.bin"] = LARGE
    source = f"weights: {{url: '{web.url}/w/', files: [{', '.join(names)}]}}"
    project.edit("targets.yaml", "weights: {path: weights}", source)
    project.edit("targets.yaml", "f32: {dtype: float32}", "f32: {dtype: float32}\n    bundle: ['large.bin', '*.json']")
    project.ok("weights:tiny")
    assert SIZE <= hashed() < SIZE * 1.25, "hashed while it arrives, and not again"
    project.ok("bundle:tiny-f32", "manifest")
    assert hashed() < SIZE / 4, "the bundle and the manifest know the digests of what they list"
    copies = [*tmp_path.rglob("large.bin"), *tmp_path.rglob("cas/*/*"), *tmp_path.rglob("blobs/*/*")]
    large = [path for path in copies if path.is_file() and path.stat().st_size == SIZE]
    assert len(large) >= 4, "cache, store, build and dist"
    assert all(path.read_bytes() == LARGE for path in large)
    if not has_reflinks(tmp_path):
        assert SIZE <= on_disk(tmp_path) < SIZE * 1.1
    entries = {one["path"]: one for one in project.json("dist/manifest.json")["files"]}
    assert entries["bundle/tiny-f32/large.bin"]["size"] == SIZE
    assert "all sound" in project.ok("cache", "verify").output


def test_an_edit_through_a_link_is_noticed_everywhere(
    project: Project, web: FakeServer, hashed: Callable[[], int]
) -> None:
    web.files |= {f"/w/{path.name}": path.read_bytes() for path in (TINY / "weights").iterdir()}
    web.files["/w/large.bin"] = LARGE
    names = ["large.bin", *(path.name for path in (TINY / "weights").iterdir())]
    project.edit(
        "targets.yaml", "weights: {path: weights}", f"weights: {{url: '{web.url}/w/', files: [{', '.join(names)}]}}"
    )
    project.ok("weights:tiny")
    target = project.path("build/weights/tiny/large.bin")
    target.chmod(0o644)
    with target.open("r+b") as file:
        file.write(b"edited")
    project.ok("weights:tiny")
    assert target.read_bytes() == LARGE, "fetched again, since cache, store and tree were one file"
    assert len(web.gets("/w/large.bin")) == 2
    assert "all sound" in project.ok("cache", "verify").output
