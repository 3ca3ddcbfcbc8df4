"""Records go from one store to another with all they name, and nothing damaged goes along."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from store_actions import BIG, MIDDLE, SOME, contents

from pipeline.errors import StoreError
from pipeline.store.action_result import LINK, ActionResult, Output, key_of
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.transfer import open_source, transfer


@pytest.fixture
def other(tmp_path):
    opened = Store(tmp_path / "other")
    yield opened
    opened.close()


def restored(store, record, folder: Path) -> dict[str, bytes]:
    store.materialise(record, folder, (), StatCache())
    return contents(folder)


def test_everything_comes_over_and_can_be_used(store, other, build, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(MIDDLE)
    made = build("compile:a@host", {"a.o": BIG, "tool": (SOME, 0o755), "note": b"small"}, log=log)
    build("compile:b@host", {"b.o": SOME})
    done = transfer(store, other)
    assert (done.records, done.known, done.refused) == (2, 0, ())
    assert done.bytes == len(BIG) + len(SOME)
    found = other.lookup(made.key)
    assert found is not None
    assert found.record == made
    assert restored(other, found.record, tmp_path / "tree") == {"a.o": BIG, "tool": SOME, "note": b"small"}
    assert os.access(tmp_path / "tree/tool", os.X_OK)
    assert other.blobs.read(made.log) == MIDDLE
    assert transfer(store, other).known == 2


def test_what_a_closed_store_took_over_is_there_when_it_is_opened_again(store, build, tmp_path):
    made = build("compile:a@host", {"a.o": BIG})
    target = Store(tmp_path / "other")
    transfer(store, target)
    target.close()
    again = Store(tmp_path / "other")
    assert again.lookup(made.key) is not None
    again.close()


def test_only_the_keys_that_were_named(store, other, build):
    one, two = build("compile:a@host", {"a.o": SOME}), build("compile:b@host", {"b.o": SOME[::-1]})
    assert transfer(store, other, [two.key, "0" * 64]).records == 1
    assert other.records.has(two.key)
    assert not other.records.has(one.key)


def test_of_two_results_of_one_key_the_target_keeps_its_own(store, other, build, tmp_path):
    build("compile:a@host", {"a.o": SOME})
    ours = build("compile:a@host", {"a.o": SOME[::-1]}, into=other)
    assert transfer(store, other).known == 1
    assert other.record(ours.key) == ours


def test_unless_its_own_is_incomplete(store, other, build, tmp_path):
    theirs = build("compile:a@host", {"a.o": SOME})
    ours = build("compile:a@host", {"a.o": SOME[::-1]}, into=other)
    other.blobs.remove(ours.outputs["a.o"].sha256)
    assert transfer(store, other).records == 1
    assert restored(other, other.lookup(ours.key).record, tmp_path / "tree") == {"a.o": SOME}
    assert theirs.key == ours.key


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_blob_keeps_its_record_behind(store, other, build, damage):
    bad, good = build("compile:a@host", {"a.o": BIG}), build("compile:b@host", {"b.o": SOME})
    blob = Path(store.blobs.path(bad.outputs["a.o"].sha256))
    blob.chmod(0o644)
    if damage == "remove":
        blob.unlink()
    else:
        blob.write_bytes(BIG[:-1] if damage == "truncate" else b"\1" + BIG[1:])
    done = transfer(store, other)
    assert done.records == 1
    assert [name for name, _ in done.refused] == ["compile:a@host"]
    assert not other.records.has(bad.key)
    assert other.lookup(good.key) is not None
    assert not list(Path(other.root, "part").iterdir())


def test_a_record_under_a_key_that_is_not_its_own_stays_behind(store, other, build):
    made = build("compile:a@host", {"a.o": SOME})
    store.records.put(replace(made, key="a" * 64))
    done = transfer(store, other)
    assert done.records == 1
    assert done.refused == (("compile:a@host", "its key is not that of its fields"),)
    assert other.record("a" * 64) is None


def test_a_damaged_record_is_noted_and_the_rest_comes_over(store, other, build, tmp_path):
    bad = build("compile:a@host", {"a.o": SOME})
    build("compile:b@host", {"b.o": SOME[::-1]})
    store.close()
    path = Path(store.records.path(bad.key))
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    notes: list[str] = []
    source = open_source(store.top, notes)
    assert transfer(source, other).records == 1
    assert len(notes) == 1
    assert "damaged" in notes[0]


def test_the_source_is_never_changed(store, other, build):
    made = build("compile:a@host", {"a.o": BIG})
    store.close()
    blob = Path(store.root, "cas", made.outputs["a.o"].sha256[:2], made.outputs["a.o"].sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    before = contents(Path(store.top))
    source = open_source(store.top, [])
    transfer(source, other)
    source.close()
    assert contents(Path(store.top)) == before


def test_an_empty_store_is_a_store(store, other, tmp_path):
    assert transfer(store, other).records == 0
    other.close()
    assert transfer(open_source(other.top, []), store).records == 0


def test_any_other_directory_is_none(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        open_source(tmp_path, [])


@pytest.mark.parametrize("target", ["/etc", "../../out"])
def test_a_symlink_that_leads_outside_stays_behind(store, other, tmp_path, target):
    data = target.encode()
    fields = {"schema": 1, "target": target}
    outputs = {"lib": Output(hashlib.sha256(data).hexdigest(), len(data), LINK)}
    small = {outputs["lib"].sha256: data}
    store.hold()
    store.records.put(ActionResult(key_of(fields), "evil:x", fields, outputs, small=small))
    done = transfer(store, other)
    assert [(name, why) for name, why in done.refused if "leads outside" in why] == list(done.refused) != []
    assert not other.records.has(key_of(fields))
    assert store.lookup(key_of(fields)) is None, "nor is it used where it lies"
    assert "leads outside" in store.notes[0]


@pytest.mark.parametrize("path", ["a/" + "x" * 300, "\ud800", "x/" * 2500 + "y"])
def test_names_that_no_file_can_have_are_refused(store, other, path):
    fields = {"schema": 1}
    store.hold()
    store.records.put(ActionResult(key_of(fields), "evil:x", fields, {path: Output("b" * 64, 1)}))
    assert transfer(store, other).records == 0


def test_a_result_without_the_outputs_of_its_action_is_not_used(store, build):
    made = build("compile:a@host", {"a.o": SOME})
    assert store.lookup(made.key, ["a.o"]) is not None
    assert store.lookup(made.key, ["a.o", "functions.json"]) is None
    assert store.notes == ["the stored result of compile:a@host has no functions.json; it is not used"]
    assert store.lookup(made.key) is None
