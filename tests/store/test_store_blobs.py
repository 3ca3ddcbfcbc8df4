"""Bytes go in once, come out as they went in, and are never believed when they were changed meanwhile."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from store_actions import BIG, MIDDLE, SOME

from pipeline import files
from pipeline.errors import StoreError
from pipeline.files import sharing
from pipeline.store.cas import Cas
from pipeline.store.os_errors import BlobMissing


@pytest.fixture
def notes():
    return []


@pytest.fixture
def blobs(tmp_path, notes):
    return Cas(str(tmp_path / "store"), notes.append)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def scratch(tmp_path, data, name="scratch"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def inode(path):
    return Path(path).stat().st_ino


def path_of(blobs, stored):
    return Path(blobs.path(stored.sha256))


@pytest.mark.parametrize("data", [b"", b"x", SOME, MIDDLE, BIG], ids=["empty", "byte", "some", "middle", "big"])
def test_what_goes_in_comes_out(blobs, tmp_path, data):
    path = scratch(tmp_path, data)
    stored = blobs.put(path)
    assert stored == (sha(data), len(data))
    assert not path.exists()
    assert blobs.check(*stored)
    assert blobs.read(stored.sha256) == data
    assert stat.S_IMODE(path_of(blobs, stored).stat().st_mode) == 0o444
    blobs.materialise(stored, str(tmp_path / "new" / "out"))
    assert (tmp_path / "new" / "out").read_bytes() == data


def test_moving_copies_nothing(blobs, tmp_path):
    path = scratch(tmp_path, BIG)
    number = inode(path)
    assert inode(blobs.path(blobs.put(path).sha256)) == number


def test_the_same_bytes_are_kept_once_and_links_to_them_stay_links(blobs, tmp_path):
    first = blobs.put(scratch(tmp_path, BIG))
    blobs.materialise(first, str(tmp_path / "out"))
    assert blobs.put(scratch(tmp_path, BIG)) == first
    assert inode(tmp_path / "out") == inode(blobs.path(first.sha256))
    assert [name for name, _ in blobs.all()] == [first.sha256]


def test_a_file_whose_digest_is_known_is_not_read_and_shares_its_inode(blobs, tmp_path, monkeypatch):
    kept, digest = scratch(tmp_path, BIG, "cached"), files.Digest(sha(BIG), len(BIG))
    monkeypatch.setattr(blobs, "_hash", pytest.fail)
    blobs.link(kept, digest)
    shared = inode(kept) == inode(blobs.path(digest.sha256))
    assert shared or sharing.reflink(str(kept), str(tmp_path / "r"))
    blobs.materialise(digest, str(tmp_path / "out"), link=True)
    assert blobs.check(*digest)
    moved = scratch(tmp_path, MIDDLE)
    assert blobs.put(moved, known=files.Digest(sha(MIDDLE), len(MIDDLE))).sha256 == sha(MIDDLE)
    assert list((tmp_path / "store" / "part").iterdir()) == []
    with pytest.raises(StoreError, match="changed"):
        blobs.link(scratch(tmp_path, SOME), files.Digest(sha(b"x"), 1))


def test_a_file_that_has_other_names_is_not_moved_into_the_store(blobs, tmp_path):
    path = scratch(tmp_path, MIDDLE)
    os.link(path, tmp_path / "somebody elses")
    stored = blobs.put(path)
    (tmp_path / "somebody elses").write_bytes(b"edited")
    assert blobs.read(stored.sha256) == MIDDLE


def test_small_files_are_copies_large_ones_links_and_programs_are_programs(blobs, tmp_path):
    small, large = blobs.put(scratch(tmp_path, SOME)), blobs.put(scratch(tmp_path, BIG))
    out = tmp_path / "out"
    blobs.materialise(small, str(out))
    assert inode(out) != inode(blobs.path(small.sha256))
    assert out.stat().st_mode & 0o777 == 0o644
    blobs.materialise(small, str(out), link=True)
    assert inode(out) == inode(blobs.path(small.sha256))
    blobs.materialise(large, str(out))
    assert inode(out) == inode(blobs.path(large.sha256)) or sharing.reflink(
        blobs.path(large.sha256), str(tmp_path / "r")
    )
    blobs.materialise(large, str(out), 0o755)
    assert out.stat().st_mode & 0o777 == 0o755
    assert out.read_bytes() == BIG
    assert stat.S_IMODE(path_of(blobs, large).stat().st_mode) == 0o444


def test_a_link_over_itself_leaves_no_litter(blobs, tmp_path):
    stored = blobs.put(scratch(tmp_path, BIG))
    for _ in range(2):
        blobs.materialise(stored, str(tmp_path / "out"), link=True)
    assert list((tmp_path / "store" / "part").iterdir()) == []
    assert (tmp_path / "out").read_bytes() == BIG


def test_an_edit_through_a_hard_link_is_noticed(blobs, tmp_path, notes):
    stored = blobs.put(scratch(tmp_path, BIG))
    blobs.materialise(stored, str(tmp_path / "out"), link=True)
    assert blobs.check(*stored)
    with (tmp_path / "out").open("r+b") as file:
        file.write(b"edited")
    assert not blobs.check(*stored)
    assert len(notes) == 1
    assert not blobs.has(stored.sha256)
    with pytest.raises(BlobMissing, match="missing or damaged"):
        blobs.materialise(stored, str(tmp_path / "again"))
    blobs.put(scratch(tmp_path, BIG))
    assert blobs.check(*stored)


@pytest.mark.parametrize("what", ["damaged", "deleted"])
def test_a_blob_that_is_spoilt_while_it_is_put_into_the_tree(blobs, tmp_path, monkeypatch, what):
    stored = blobs.put(scratch(tmp_path, BIG))
    blob = path_of(blobs, stored)

    def spoil_and_share(source, target, mode, **more):
        blob.write_bytes(b"spoilt") if what == "damaged" else blob.unlink()
        sharing.share(source, target, mode, **more)

    monkeypatch.setattr("pipeline.store.cas.share", spoil_and_share)
    with pytest.raises(BlobMissing):
        blobs.materialise(stored, str(tmp_path / "out"))


def test_a_blob_known_by_heart_is_not_read(blobs, tmp_path, monkeypatch):
    stored = blobs.put(scratch(tmp_path, BIG))
    blobs.materialise(stored, str(tmp_path / "out"), link=True)
    blobs.close()
    later = Cas(str(tmp_path / "store"), pytest.fail)
    monkeypatch.setattr(later, "_hash", pytest.fail)
    assert later.check(*stored)


@pytest.mark.parametrize("data", [SOME, MIDDLE, BIG], ids=["some", "middle", "big"])
@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: b"X" + d[1:], lambda _: b""], ids=["short", "flip", "empty"]
)
def test_a_damaged_blob_is_thrown_out(blobs, tmp_path, notes, data, damage):
    stored = blobs.put(scratch(tmp_path, data))
    path = path_of(blobs, stored)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(damage(data))
    assert not blobs.check(*stored)
    assert not path.exists()
    assert len(notes) == 1


def test_a_read_only_store_passes_over_damage(blobs, tmp_path):
    stored = blobs.put(scratch(tmp_path, SOME))
    path = path_of(blobs, stored)
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"!")
    reader = Cas(str(tmp_path / "store"), lambda _: None, read_only=True)
    assert not reader.check(*stored)
    assert path.exists()


@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink"])
def test_only_regular_files_are_taken(blobs, tmp_path, kind):
    path = tmp_path / "odd"
    {"directory": path.mkdir, "fifo": lambda: os.mkfifo(path), "symlink": lambda: path.symlink_to("x")}[kind]()
    with pytest.raises(StoreError, match="not a regular file"):
        blobs.put(path)


def test_a_reflink_that_cannot_be_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "_clone", lambda *_: False)
    source = scratch(tmp_path, b"x")
    assert not sharing.reflink(str(source), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_a_reflink_is_preferred_to_a_link(blobs, tmp_path, monkeypatch):
    def clone(source, target):  # fake of a file system that has them
        Path(target).write_bytes(Path(source).read_bytes())
        return True

    monkeypatch.setattr(sharing, "_clone", clone)
    stored = blobs.put(scratch(tmp_path, BIG))
    blobs.materialise(stored, str(tmp_path / "out"), link=True)
    assert inode(tmp_path / "out") != inode(blobs.path(stored.sha256))
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("data", [SOME, BIG], ids=["some", "big"])
def test_another_file_system_gets_a_copy(blobs, tmp_path, data):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    stored = blobs.put(scratch(tmp_path, data))
    target = shared / f"slipway-test-{os.getpid()}" / "out"
    try:
        blobs.materialise(stored, str(target), link=True)
        assert target.read_bytes() == data
        assert list(target.parent.iterdir()) == [target]
        assert blobs.put(target) == stored
        target.unlink(missing_ok=True)
    finally:
        target.parent.rmdir()


def test_flush_waits_for_each_new_blob_once(blobs, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    blobs.put(scratch(tmp_path, SOME))
    blobs.put(scratch(tmp_path, MIDDLE))
    blobs.flush()
    blobs.flush()
    assert len(synced) == 2
