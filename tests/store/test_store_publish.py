"""A directory that is replaced whole: at every moment all of the old one is there, or all of the new one."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from pipeline.store import outputs
from pipeline.store import publish as publishing
from pipeline.store.action_result import ActionResult
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store

NAMES = [f"lib/{number}.a" for number in range(20)]


@pytest.fixture
def put(store: Store, stat_cache: StatCache, tmp_path: Path):
    """Publish a result into `dist/kit`, which held another one before."""

    def run(record: ActionResult, before: ActionResult | None = None):
        old = () if before is None else before.outputs
        return store.materialise(record, tmp_path / "dist/kit", old, stat_cache, scratch=tmp_path / "scratch-kit")

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def two(build) -> tuple[ActionResult, ActionResult]:
    old = build(files={"a": b"old", "gone/b": b"old", "same": b"same" * 5000})
    return old, build(files={"a": b"new", "c/d": b"new", "same": b"same" * 5000}, key="2")


def test_the_new_directory_takes_the_place_of_the_old(build, put, tmp_path):
    old, new = two(build)
    put(old)
    same = (tmp_path / "dist/kit/same").stat()
    (tmp_path / "dist/kit/theirs").write_text("theirs")
    placed = put(new, old)
    assert content(tmp_path / "dist/kit") == {
        "a": b"new", "c/d": b"new", "same": b"same" * 5000, "theirs": b"theirs"
    }  # fmt: skip
    assert set(placed.written) == {"a", "c/d"}
    assert placed.removed == ("gone/b",)
    assert (tmp_path / "dist/kit/same").stat().st_ino == same.st_ino
    assert not (tmp_path / "scratch-kit").exists()
    again = (tmp_path / "dist/kit").stat()
    assert put(new, new) == ((), ())
    assert (tmp_path / "dist/kit").stat().st_ino == again.st_ino, "nothing to do, nothing renamed"


def test_what_was_put_there_need_not_be_read_again(build, store, stat_cache, tmp_path, monkeypatch):
    old, new = two(build)
    for record, before in ((old, ()), (new, old.outputs)):
        store.materialise(record, tmp_path / "dist/kit", before, stat_cache, scratch=tmp_path / "scratch-kit")
    monkeypatch.setattr(stat_cache, "file", lambda path: pytest.fail(f"{path} was read"))
    assert outputs.damaged(new.outputs, str(tmp_path / "dist/kit"), stat_cache, store.blobs) == []
    assert not any("scratch" in path for path in stat_cache._now)


@pytest.mark.parametrize("spoil", ["edit", "delete", "all"])
def test_a_spoilt_directory_is_put_right(build, put, tmp_path, spoil):
    _, new = two(build)
    put(new)
    good = content(tmp_path / "dist/kit")
    if spoil == "all":
        shutil.rmtree(tmp_path / "dist")
    elif spoil == "edit":
        (tmp_path / "dist/kit/a").write_bytes(b"bad")
    else:
        (tmp_path / "dist/kit/c/d").unlink()
    put(new, new)
    assert content(tmp_path / "dist/kit") == good


def test_a_crash_before_the_rename_changes_nothing(build, put, tmp_path, monkeypatch):
    old, new = two(build)
    put(old)
    before = content(tmp_path / "dist/kit")
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "_exchange", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put(new, old)
    assert content(tmp_path / "dist/kit") == before
    put(new, old)
    assert content(tmp_path / "dist/kit")["a"] == b"new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EXDEV])
def test_where_directories_cannot_change_places_files_do(build, put, tmp_path, monkeypatch, number):
    def refuse(*_names):
        raise OSError(number, os.strerror(number))

    old, new = two(build)
    put(old)
    (tmp_path / "dist/kit/theirs").write_text("theirs")
    monkeypatch.setattr(publishing, "_exchange", refuse)
    put(new, old)
    assert content(tmp_path / "dist/kit") == {
        "a": b"new", "c/d": b"new", "same": b"same" * 5000, "theirs": b"theirs"
    }  # fmt: skip


def test_a_reader_sees_one_or_the_other_and_no_mixture(build, put, tmp_path):
    """A reader that holds the directory open reads all of its files from one publication."""
    versions = [
        build(files=dict.fromkeys(NAMES, number * 3), key=str(index))
        for index, number in enumerate((b"1" * 5000, b"2" * 5000))
    ]
    put(versions[0])
    kit, over, mixed, seen = tmp_path / "dist/kit", threading.Event(), [], set()

    def read() -> None:
        while not over.is_set():
            holder = os.open(kit, os.O_RDONLY)
            try:
                found = set()
                for name in NAMES:
                    fd = os.open(name, os.O_RDONLY, dir_fd=holder)
                    found.add(os.read(fd, 1))
                    os.close(fd)
            except FileNotFoundError:  # the old one is on its way out
                continue
            finally:
                os.close(holder)
            seen.update(found)
            if len(found) != 1:
                mixed.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(60):
            put(versions[(turn + 1) % 2], versions[turn % 2])
    finally:
        over.set()
        reader.join()
    assert not mixed
    assert seen == {b"1", b"2"}
