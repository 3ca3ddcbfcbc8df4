"""The workspace knows what the tree holds, the moment it holds it."""

import pytest

from pipeline.store.action_result import Output
from pipeline.store.workspace import COMPACT, Entry, Workspace

ENTRY = Entry(key="a" * 64, out="build/compile/x", outputs={"x.o": Output("b" * 64, 5, 0o644)}, seconds=1.5, peak=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "build" / "ledger"


def test_an_entry_survives_without_closing(path):
    Workspace(path).set("compile:x", ENTRY)
    again = Workspace(path)
    assert again.get("compile:x") == ENTRY
    assert again.key("compile:x") == ENTRY.key
    assert again.names() == ["compile:x"]
    assert again.get("compile:y") is None
    assert again.key("compile:y") is None


def test_the_last_word_counts(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    workspace.set("x", ENTRY._replace(key="c" * 64))
    assert Workspace(path).key("x") == "c" * 64


def test_forgetting(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    workspace.forget("x")
    workspace.forget("never built")
    entry = Workspace(path).get("x")
    assert entry is not None
    assert entry == ENTRY._replace(forgotten=True)
    assert Workspace(path).names() == ["x"]


def test_ignoring_needs_no_build_and_ends_with_forgetting(path):
    workspace = Workspace(path)
    workspace.ignore("x")
    assert Workspace(path).ignored("x")
    assert Workspace(path).get("x") is None
    assert Workspace(path).names() == []
    workspace.set("y", ENTRY)
    workspace.ignore("y")
    assert Workspace(path).get("y") == ENTRY._replace(ignored=True)
    workspace.forget("y")
    workspace.forget("x")
    assert not Workspace(path).ignored("y")
    assert not Workspace(path).ignored("x")


def test_removing(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    workspace.remove("x")
    workspace.remove("x")
    assert Workspace(path).get("x") is None
    assert Workspace(path).names() == []


def test_closing_compacts_what_is_mostly_history(path):
    workspace = Workspace(path)
    for i in range(500):
        workspace.set(f"x{i % 10}", ENTRY._replace(seconds=i))
    before = path.stat().st_size
    assert before > COMPACT
    workspace.close()
    assert path.stat().st_size < before / 20
    again = Workspace(path)
    assert [again.get(f"x{i}").seconds for i in range(10)] == list(range(490, 500))


def test_a_damaged_line_is_dropped_with_a_note(path):
    workspace = Workspace(path)
    for name in ("x", "y", "z"):
        workspace.set(name, ENTRY)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = Workspace(path)
    assert again.names() == ["x", "z"]
    assert len(again.notes) == 1
    assert "damaged" in again.notes[0]


def test_what_another_process_did_is_seen_after_a_refresh(path):
    mine, other = Workspace(path), Workspace(path)
    other.set("x", ENTRY)
    assert mine.get("x") is None
    mine.refresh()
    assert mine.get("x") == ENTRY


@pytest.mark.parametrize(
    "name", ["compile:m-f32@ios+mlc", "tab\there", "back\\slash", "ünïcode ☂", "\udcff", "new\nline", ""]
)
def test_any_name_comes_back(path, name):
    Workspace(path).set(name, ENTRY)
    assert Workspace(path).names() == [name]
    assert Workspace(path).get(name) == ENTRY


def test_what_may_be_written_later_is_known_at_once_and_written_by_a_flush(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY, later=True)
    workspace.set("y", ENTRY, later=True)
    assert workspace.get("x") == ENTRY
    assert Workspace(path).names() == []
    workspace.flush()
    assert Workspace(path).names() == ["x", "y"]


def test_what_may_be_written_later_comes_before_what_may_not(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY, later=True)
    workspace.remove("x")
    assert Workspace(path).get("x") is None
    workspace.set("y", ENTRY, later=True)
    workspace.close()
    assert Workspace(path).names() == ["y"]


def test_what_another_process_has_written_is_in_the_bookmark_of_this_one(path):
    mine, other = Workspace(path), Workspace(path)
    for i in range(3000):
        other.set(f"theirs {i}", ENTRY)
        mine.learn(f"theirs {i}", other.line(f"theirs {i}"))
        mine.set(f"mine {i}", ENTRY)
    other.set("a stranger's", ENTRY)
    mine.close()
    assert len(Workspace(path).names()) == 6001
