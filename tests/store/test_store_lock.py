"""One doit builds in a tree; the second waits or stops, and a dead one is in nobody's way."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.errors import StoreError
from pipeline.store.locks import TreeLock

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.store.locks import TreeLock
lock = TreeLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


def test_a_file_system_without_locks_is_told_with_the_cure(path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match="cannot lock the tree: no locks available") as caught:
        TreeLock(path).acquire()
    assert "mount it with them" in caught.value.hint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "build" / "lock"


@pytest.fixture
def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_alone(path):
    lock = TreeLock(path)
    lock.acquire()
    assert path.with_name("lock.owner").exists()
    lock.release()
    assert not path.with_name("lock.owner").exists()
    lock.release()


def test_the_second_stops_when_told_not_to_wait(path, holder):
    said = []
    with pytest.raises(
        StoreError, match=rf"another doit \(pid {holder.pid}, started \d\d:\d\d:\d\d\) is building here"
    ):
        TreeLock(path, say=said.append, environ={"SLIPWAY_WAIT": "0"}).acquire()
    assert said == []


def test_the_second_waits_and_says_for_whom(path, holder):
    said = []

    def say(line):
        said.append(line)
        holder.stdin.close()

    lock = TreeLock(path, say=say, environ={})
    lock.acquire()
    lock.release()
    assert len(said) == 1
    assert said[0].endswith("is building here; waiting")
    assert f"pid {holder.pid}" in said[0]


def test_a_killed_owner_is_in_nobodys_way(path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert path.with_name("lock.owner").exists()
    began = time.monotonic()
    TreeLock(path, wait=False).acquire()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": 1, "started": 1e300}', b"\xff"])
def test_a_damaged_note_or_a_truncated_lock_changes_nothing(path, holder, note):
    path.with_name("lock.owner").write_bytes(note)
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="another doit is building here"):
        TreeLock(path, wait=False).acquire()


def test_a_place_that_cannot_be_locked_says_so(tmp_path):
    (tmp_path / "build").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot lock the tree"):
        TreeLock(tmp_path / "build" / "lock").acquire()
