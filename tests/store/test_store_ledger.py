"""The ledger knows what the tree holds, the moment it holds it."""

import pytest

from pipeline.store.action_cache import Output
from pipeline.store.workspace import COMPACT, Entry, Ledger

ENTRY = Entry(key="a" * 64, out="build/compile/x", outputs={"x.o": Output("b" * 64, 5, 0o644)}, seconds=1.5, peak=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "build" / "ledger"


def test_an_entry_survives_without_closing(path):
    Ledger(path).set("compile:x", ENTRY)
    again = Ledger(path)
    assert again.get("compile:x") == ENTRY
    assert again.key("compile:x") == ENTRY.key
    assert again.names() == ["compile:x"]
    assert again.get("compile:y") is None
    assert again.key("compile:y") is None


def test_the_last_word_counts(path):
    ledger = Ledger(path)
    ledger.set("x", ENTRY)
    ledger.set("x", ENTRY._replace(key="c" * 64))
    assert Ledger(path).key("x") == "c" * 64


def test_forgetting(path):
    ledger = Ledger(path)
    ledger.set("x", ENTRY)
    ledger.forget("x")
    ledger.forget("never built")
    entry = Ledger(path).get("x")
    assert entry is not None
    assert entry == ENTRY._replace(forgotten=True)
    assert Ledger(path).names() == ["x"]


def test_ignoring_needs_no_build_and_ends_with_forgetting(path):
    ledger = Ledger(path)
    ledger.ignore("x")
    assert Ledger(path).ignored("x")
    assert Ledger(path).get("x") is None
    assert Ledger(path).names() == []
    ledger.set("y", ENTRY)
    ledger.ignore("y")
    assert Ledger(path).get("y") == ENTRY._replace(ignored=True)
    ledger.forget("y")
    ledger.forget("x")
    assert not Ledger(path).ignored("y")
    assert not Ledger(path).ignored("x")


def test_removing(path):
    ledger = Ledger(path)
    ledger.set("x", ENTRY)
    ledger.remove("x")
    ledger.remove("x")
    assert Ledger(path).get("x") is None
    assert Ledger(path).names() == []


def test_closing_compacts_what_is_mostly_history(path):
    ledger = Ledger(path)
    for i in range(500):
        ledger.set(f"x{i % 10}", ENTRY._replace(seconds=i))
    before = path.stat().st_size
    assert before > COMPACT
    ledger.close()
    assert path.stat().st_size < before / 20
    again = Ledger(path)
    assert [again.get(f"x{i}").seconds for i in range(10)] == list(range(490, 500))


def test_a_damaged_line_is_dropped_with_a_note(path):
    ledger = Ledger(path)
    for name in ("x", "y", "z"):
        ledger.set(name, ENTRY)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = Ledger(path)
    assert again.names() == ["x", "z"]
    assert len(again.notes) == 1
    assert "damaged" in again.notes[0]


def test_what_another_process_did_is_seen_after_a_refresh(path):
    mine, other = Ledger(path), Ledger(path)
    other.set("x", ENTRY)
    assert mine.get("x") is None
    mine.refresh()
    assert mine.get("x") == ENTRY


@pytest.mark.parametrize(
    "name", ["compile:m-f32@ios+mlc", "tab\there", "back\\slash", "ünïcode ☂", "\udcff", "new\nline", ""]
)
def test_any_name_comes_back(path, name):
    Ledger(path).set(name, ENTRY)
    assert Ledger(path).names() == [name]
    assert Ledger(path).get(name) == ENTRY


def test_what_may_be_written_later_is_known_at_once_and_written_by_a_flush(path):
    ledger = Ledger(path)
    ledger.set("x", ENTRY, later=True)
    ledger.set("y", ENTRY, later=True)
    assert ledger.get("x") == ENTRY
    assert Ledger(path).names() == []
    ledger.flush()
    assert Ledger(path).names() == ["x", "y"]


def test_what_may_be_written_later_comes_before_what_may_not(path):
    ledger = Ledger(path)
    ledger.set("x", ENTRY, later=True)
    ledger.remove("x")
    assert Ledger(path).get("x") is None
    ledger.set("y", ENTRY, later=True)
    ledger.close()
    assert Ledger(path).names() == ["y"]


def test_what_another_process_has_written_is_in_the_bookmark_of_this_one(path):
    mine, other = Ledger(path), Ledger(path)
    for i in range(3000):
        other.set(f"theirs {i}", ENTRY)
        mine.learn(f"theirs {i}", other.line(f"theirs {i}"))
        mine.set(f"mine {i}", ENTRY)
    other.set("a stranger's", ENTRY)
    mine.close()
    assert len(Ledger(path).names()) == 6001
