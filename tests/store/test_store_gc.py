"""The store becomes smaller, but never by what is needed."""

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from store_actions import MIDDLE, SOME, finish, log_of

from pipeline.errors import StoreError
from pipeline.files import look, temporary_in
from pipeline.store.gc import collect, stats, verify
from pipeline.store.store import Store

NOW = time.time()
DAY = 86_400.0


@pytest.fixture
def aged(store, tmp_path):
    """Five records, the first one the least recently used; each has a blob of its own, and all share one."""
    made = [
        finish(
            store,
            tmp_path / "scratch",
            f"compile:{i}",
            {"own": SOME + b"%d" % i, "shared": MIDDLE},
            started=NOW - (5 - i) * DAY,
        )
        for i in range(5)
    ]
    for record in made:
        os.utime(store.records.path(record.key), (record.started, record.started))
    return made


def found(store, records):
    return [i for i, record in enumerate(records) if store.lookup(record.key) is not None]


def test_nothing_goes_without_a_limit(store, aged):
    collected = collect(store, (), now=NOW)
    assert (collected.records, collected.blobs, collected.kept_records) == (0, 0, 5)
    assert found(store, aged) == [0, 1, 2, 3, 4]


def test_by_age(store, aged):
    collected = collect(store, {aged[0].key}, max_age=2.5 * DAY, now=NOW)
    assert found(store, aged) == [0, 3, 4]
    assert (collected.records, collected.blobs, collected.bytes) == (2, 2, 2 * (len(SOME) + 1))
    assert collected.kept_bytes == len(MIDDLE) + 3 * (len(SOME) + 1)


def test_by_size_the_least_recently_used_first(store, aged):
    os.utime(store.records.path(aged[0].key))
    collect(store, (), max_bytes=len(MIDDLE) + 2 * (len(SOME) + 1), now=NOW)
    assert found(store, aged) == [0, 4]


def test_what_is_needed_stays_whatever_the_limits(store, aged):
    live = {aged[1].key, aged[2].key}
    collect(store, live, max_bytes=0, max_age=0, now=NOW)
    assert found(store, aged) == [1, 2]
    assert verify(store).incomplete == ()


def test_the_last_user_takes_the_shared_blob_with_it(store, aged):
    collected = collect(store, (), max_bytes=0, now=NOW)
    assert collected.kept_bytes == 0
    assert list(store.blobs.all()) == []


def test_a_dry_run_only_tells(store, aged):
    told = collect(store, (), max_bytes=0, now=NOW, dry_run=True)
    assert found(store, aged) == [0, 1, 2, 3, 4]
    assert collect(store, (), max_bytes=0, now=NOW) == told


def test_blobs_without_a_record_go(store, aged):
    stray = store.blobs.put_bytes(b"nobody's" * 1000)
    assert collect(store, (), now=NOW).blobs == 1
    assert not store.blobs.has(stray.sha256)


def test_who_is_alone_in_the_store_removes_what_killed_processes_have_left(store, tmp_path, monkeypatch):
    store.hold()
    part = Path(store.blobs.part)
    part.mkdir(exist_ok=True)
    left, mine = Path(temporary_in(part)), part / "notes"
    for path in (left, mine):
        path.write_bytes(b"")
    with closing(Store(tmp_path / "store")) as second:
        second.hold()
        assert left.exists(), "its process may live"
        monkeypatch.setattr("pipeline.store.store.STALE_SECONDS", 0)
        with closing(Store(tmp_path / "store")) as third:
            third.hold()
        assert (left.exists(), mine.exists()) == (False, True), "old ones go in any case"
    monkeypatch.undo()
    left.write_bytes(b"")
    store.close()
    with closing(Store(tmp_path / "store")) as alone:
        alone.hold()
        assert (left.exists(), mine.exists()) == (False, True)


def test_logs_stay_with_their_records(store, tmp_path):
    log = tmp_path / "log"
    log.write_text("said " * 2000)
    record = finish(store, tmp_path / "scratch", "compile:x", {"x": b""}, log=log)
    collect(store, {record.key}, max_bytes=0, now=NOW)
    assert log_of(record, store.blobs) == "said " * 2000


def test_nobody_else_may_be_using_the_store(store, aged, tmp_path):
    other = Store(tmp_path / "store")
    other.lookup(aged[0].key)
    with pytest.raises(StoreError, match="another doit is using the store"):
        collect(store, (), max_bytes=0, now=NOW)
    assert found(store, aged) == [0, 1, 2, 3, 4]
    other.close()
    collect(store, (), max_bytes=0, now=NOW)
    assert found(store, aged) == []


ASKS = """
import sys
import time
from pipeline.store.store import Store
store = Store(sys.argv[1])
store.lookup("0" * 64)
print("asked", flush=True)
sys.stdin.read()
"""


def test_a_killed_user_is_in_nobodys_way(store, aged, tmp_path):
    user = subprocess.Popen(
        [sys.executable, "-c", ASKS, str(tmp_path / "store")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    user.stdout.readline()
    with pytest.raises(StoreError):
        collect(store, (), max_bytes=0, now=NOW)
    user.kill()
    user.wait()
    user.stdin.close()
    user.stdout.close()
    assert collect(store, (), max_bytes=0, now=NOW).records == 5


def test_stats(store, aged, tmp_path):
    finish(store, tmp_path / "scratch", "archive:x", {"x": b"tiny"}, started=NOW)
    counted = stats(store)
    assert (counted.records, counted.blobs, counted.by_step) == (6, 6, {"archive": 1, "compile": 5})
    assert counted.bytes == len(MIDDLE) + 5 * (len(SOME) + 1)
    assert counted.oldest == NOW - 5 * DAY
    assert counted.seconds == 9.0
    assert counted.record_bytes == store.records.size() > 0
    assert stats(Store(tmp_path / "none")).oldest is None


def test_verify_reads_even_what_is_known_by_heart(store, aged, tmp_path):
    sha256 = aged[0].outputs["shared"].sha256
    path = Path(store.blobs.path(sha256))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"\xff")
    store.blobs._stat_cache.remember(sha256, look(path), sha256)
    assert store.blobs.check(sha256)
    verified = verify(store)
    assert verified.damaged == (sha256,)
    assert set(verified.incomplete) == {record.key for record in aged}
    assert verified.blobs == 6
    assert verify(store).damaged == ()
