"""The remote store beside what bazel-remote demands, by a stand-in."""

from __future__ import annotations

import hashlib

import pytest
from fake_bazel_remote import FakeBazelRemote
from store_actions import BIG, SOME, contents, finish, key_for

from pipeline.store.remote import Remote
from pipeline.store.remote_client import Client
from pipeline.store.store import Store

FILES = {"lib/m.o": SOME, "t.txt": b"small", "big.bin": BIG, "empty": b""}
KEY = key_for("compile:m@host")


@pytest.fixture
def server():
    with FakeBazelRemote() as running:
        yield running


@pytest.fixture
def machine(tmp_path, server, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = []

    def make(*, write=False):
        store = Store(tmp_path / f"machine{len(opened)}")
        store.remote = Remote(Client(server.url), store.note, write=write)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def uploaded(machine, tmp_path):
    first = machine(write=True)
    record = finish(first, tmp_path / "scratch", "compile:m@host", FILES)
    first.close()
    assert first.notes == []
    return record


def test_a_second_machine_fetches_what_the_first_one_built(server, uploaded, machine, tree):
    assert ("ac", KEY) in server.kept
    second = machine()
    assert second.state(KEY) == "remote"
    assert second.lookup(KEY) == (uploaded, "fetched")
    second.materialise(uploaded, tree)
    assert contents(tree) == FILES
    assert second.notes == []
    assert len(server.requests) == len({*server.requests}), "nothing twice"


def test_a_record_without_blobs_is_taken(server, machine, tmp_path):
    first = machine(write=True)
    finish(first, tmp_path / "scratch", "compile:m@host", {"t.txt": b"small"})
    first.close()
    assert first.notes == []
    assert machine().lookup(KEY).how == "fetched"


def test_a_record_without_one_of_its_blobs_is_a_miss(server, uploaded, machine):
    del server.kept["cas", hashlib.sha256(SOME).hexdigest()]
    second = machine()
    assert second.state(KEY) == "miss"
    assert second.lookup(KEY) is None
    assert second.notes == []
    assert not [path for method, path in server.requests if method == "GET" and "/cas/" in path]


def test_a_blob_of_another_digest_is_not_taken(server, uploaded, machine):
    server.kept["cas", hashlib.sha256(SOME).hexdigest()] = b"(zstd)"
    second = machine()
    assert second.lookup(KEY) is None
    assert len(second.notes) == 1
