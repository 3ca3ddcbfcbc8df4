"""The workspace knows what the tree holds, the moment it holds it."""

import shutil
from dataclasses import replace

import pytest

from pipeline.errors import StoreError
from pipeline.store.action_result import Output
from pipeline.store.workspace import Entry, Workspace

ENTRY = Entry(key="a" * 64, out="build/compile/x", outputs={"x.o": Output("b" * 64, 5, 0o644)}, seconds=1.5, peak=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "build" / "workspace"


def test_an_entry_survives_without_closing(path):
    Workspace(path).set("compile:x", ENTRY)
    again = Workspace(path)
    assert again.get("compile:x") == ENTRY
    assert again.names() == ["compile:x"]
    assert again.get("compile:y") is None


def test_on_a_full_disk_the_table_is_read_and_not_opened_for_writing(path, monkeypatch):
    """There SQLite dies of SIGBUS, where blocks of the file system are smaller than its pages."""
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    workspace._close()
    free = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=0))
    again = Workspace(path)
    assert again.get("x") == ENTRY
    assert [one.name for one in path.parent.iterdir()] == ["workspace"]
    with pytest.raises(StoreError, match="no space left on device"):
        again.set("y", ENTRY)


def test_the_last_word_counts(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    workspace.set("x", replace(ENTRY, key="c" * 64))
    assert Workspace(path).get("x").key == "c" * 64


def test_forgetting(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    workspace.forget("x")
    workspace.forget("never built")
    entry = Workspace(path).get("x")
    assert entry is not None
    assert entry == replace(ENTRY, forgotten=True)
    assert Workspace(path).names() == ["x"]


def test_ignoring_needs_no_build_and_ends_with_forgetting(path):
    workspace = Workspace(path)
    workspace.ignore("x")
    assert Workspace(path).ignored("x")
    assert Workspace(path).get("x") is None
    assert Workspace(path).names() == []
    workspace.set("y", ENTRY)
    workspace.ignore("y")
    assert Workspace(path).get("y") == replace(ENTRY, ignored=True)
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


def test_a_damaged_row_is_dropped_with_a_note(path):
    workspace = Workspace(path)
    for name in ("x", "y", "z"):
        workspace.set(name, replace(ENTRY, out=f"build/{name}"))
    workspace.close()
    path.write_bytes(path.read_bytes().replace(b"build/y", b"build/q"))
    again = Workspace(path)
    assert again.names() == ["x", "z"]
    assert len(again.notes) == 1
    assert "damaged" in again.notes[0]


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_table_begins_anew(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    workspace = Workspace(path)
    assert workspace.names() == []
    workspace.set("x", ENTRY)
    workspace.close()
    assert Workspace(path).names() == ["x"]


def test_a_table_that_is_damaged_while_it_is_open_begins_anew(path):
    workspace = Workspace(path)
    for i in range(300):
        workspace.set(f"x{i}", ENTRY)
    workspace.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))
    again = Workspace(path)
    again.set("y", ENTRY)
    again.close()
    assert Workspace(path).get("y") == ENTRY


def test_a_directory_that_is_gone_is_made_again(path):
    workspace = Workspace(path)
    workspace.set("x", ENTRY)
    shutil.rmtree(path.parent)
    workspace.set("y", ENTRY)
    assert "y" in Workspace(path).names()


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
