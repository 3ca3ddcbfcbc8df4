"""A record comes back as it was written, or not at all."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from store_actions import fields_of

from pipeline.errors import StoreError
from pipeline.files.names import is_safe_relative
from pipeline.store.action_cache import ActionCache
from pipeline.store.action_result import LINK, ActionResult, Output, decode, encode, key_of


def sha(data):
    return hashlib.sha256(data).hexdigest()


def record(name="compile:x", **changes):
    fields = fields_of(name)
    document = {
        "key": key_of(fields),
        "name": name,
        "fields": fields,
        "outputs": {"a/x.o": Output("b" * 64, 70_000), "t.txt": Output(sha(b"hi"), 2, 0o755)},
        "facts": {"bytes": 7, "ü": None},
        "started": 1.5,
        "seconds": 2.5,
        "cpu_seconds": 3.5,
        "peak_bytes": 4,
        "host": "here",
        "log": "c" * 64,
        "versions": {"python": "3.11"},
        "small": {sha(b"hi"): b"hi"},
    }
    return ActionResult(**{**document, **changes})


def forged(**changes):
    """A record as an enemy would write it: the digest is right, the content is not."""
    body = json.loads(encode(record()))["result"]
    text = json.dumps({**body, **changes}).encode()
    return b'{"digest":"%b","result":%b}' % (sha(text).encode(), text)


@pytest.fixture
def notes():
    return []


@pytest.fixture
def records(tmp_path, notes):
    return ActionCache(str(tmp_path / "store"), notes.append)


def test_a_record_is_one_line_and_comes_back(records, tmp_path, notes):
    assert b"\n" not in encode(record())
    records.put(record())
    again = ActionCache(str(tmp_path / "store"), notes.append)
    assert again.get(record().key) == record()
    assert again.get("0" * 64) is None
    assert again.has(record().key)
    assert not again.has("0" * 64)
    assert notes == []


def test_encoding_is_canonical():
    assert encode(record()) == encode(decode(encode(record())))
    body = encode(record()).partition(b'"result":')[2][:-1]
    assert json.loads(encode(record()))["digest"] == sha(body)


def test_blobs_are_what_the_record_does_not_carry():
    assert record().blobs() == {"b" * 64: 70_000}


def test_what_another_process_adds_is_found(records, tmp_path, notes):
    other = ActionCache(str(tmp_path / "store"), notes.append)
    assert other.get(record().key) is None
    records.put(record())
    assert other.get(record().key) == record()


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": {"../x": ["b" * 64, 1, 0o644]}},
        {"outputs": {"/etc/x": ["b" * 64, 1, 0o644]}},
        {"outputs": {"a//b": ["b" * 64, 1, 0o644]}},
        {"outputs": {"a\0b": ["b" * 64, 1, 0o644]}},
        {"outputs": {"": ["b" * 64, 1, 0o644]}},
        {"outputs": {"a": ["../../etc/passwd", 1, 0o644]}},
        {"outputs": {"a": ["b" * 64, -1, 0o644]}},
        {"outputs": {"a": ["b" * 64, 1.5, 0o644]}},
        {"outputs": {"a": ["b" * 64, 1, 0o4755]}},
        {"outputs": {"a": ["b" * 64]}},
        {"outputs": {"a": ["b" * 64, 1, LINK], "a/b": ["b" * 64, 1, 0o644]}},
        {"outputs": {"a": ["b" * 64, 1, LINK], "a/c/b": ["b" * 64, 1, 0o644]}},
        {"outputs": [1]},
        {"small": {"b" * 64: "aGk="}},
        {"small": {"b" * 64: "%%%"}},
        {"small": {"b" * 64: 5}},
        {"key": "../x"},
        {"log": "../x"},
        {"format": 1},
        {"format": None},
        {"unknown": 1},
        {"started": "yesterday"},
        {"started": float("nan")},
        {"seconds": -1},
        {"facts": None},
        {"fields": []},
        {"name": None},
    ],
)
def test_a_forged_record_is_refused(change):
    assert decode(forged()) is not None
    assert decode(forged(**change)) is None


def test_paths():
    assert all(map(is_safe_relative, ["a", "a/b.c", "...", "a b", ".hidden"]))
    assert not any(map(is_safe_relative, ["", "/", "a/", "/a", ".", "..", "a/../b", "a/./b", "a\0"]))


def test_facts_that_are_not_json_are_the_steps_mistake():
    with pytest.raises(StoreError, match="compile:x cannot be written"):
        encode(record(facts={"when": object()}))
    with pytest.raises(StoreError, match="cannot be written"):
        encode(record(facts={"loss": float("nan")}))


def test_a_file_name_that_is_no_text_is_kept(records, tmp_path, notes):
    odd = os.fsdecode(b"\xff.o")
    records.put(record(outputs={odd: Output("b" * 64, 1)}))
    assert records.get(record().key).outputs == {odd: Output("b" * 64, 1)}


@pytest.mark.parametrize(
    "damage", [lambda d: d[:90], lambda d: d.replace(b"here", b"hare"), lambda d: d.replace(b"70000", b"70001")]
)
def test_a_damaged_record_is_reported_once_and_gone(records, notes, damage):
    records.put(record())
    path = Path(records.path(record().key))
    path.write_bytes(damage(path.read_bytes()))
    assert records.get(record().key) is None
    assert records.get(record().key) is None
    assert len(notes) == 1
    records.put(record())
    assert records.get(record().key) == record()


def test_a_record_under_a_foreign_key_is_not_believed(records, notes):
    one, two = record("a:1"), record("a:2")
    records.put(two)
    Path(records.path(one.key)).parent.mkdir(exist_ok=True)
    Path(records.path(two.key)).rename(records.path(one.key))
    assert records.get(one.key) is None
    assert len(notes) == 1


def test_dropping_and_use(records, notes):
    one, two, three = (record(f"a:{i}", started=i) for i in range(3))
    for each in (three, one, two):
        records.put(each)
    os.utime(records.path(one.key), (5, 5))
    records.touch(one.key)
    assert records.used(one.key) > 1e9
    before = records.used(one.key)
    records.touch(one.key)
    assert records.used(one.key) == before, "a use is noted once a day"
    size = records.size()
    records.remove(two.key)
    assert records.size() < size
    assert [each.name for each in records.all()] == ["a:0", "a:2"]
    assert set(records.keys()) == {one.key, three.key}
    assert notes == []
