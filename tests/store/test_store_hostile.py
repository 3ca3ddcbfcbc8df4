"""What another machine may have put into a store: results that are sealed soundly and say what none of ours says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from store_actions import BIG, MIDDLE, SOME, contents

from pipeline.files import sha256_bytes, write_atomic
from pipeline.store.action_result import FILE, LINK, ActionResult, Output, decode, encode, key_of
from pipeline.store.gc import stats
from pipeline.store.stat_cache import canonical
from pipeline.store.store import Store
from pipeline.store.transfer import transfer

FIELDS = {"schema": 1, "step": "compile"}
KEY = key_of(FIELDS)


def sealed(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, ensure_ascii=True).encode()
    return b'{"digest":"%b","result":%b}' % (sha256_bytes(body).encode(), body)


@pytest.fixture
def sound() -> dict[str, Any]:
    """The document of a sound result."""
    data = b"content"
    digest = sha256_bytes(data)
    made = ActionResult(
        KEY,
        "compile:a@host",
        FIELDS,
        {"a.o": Output(digest, len(data))},
        facts={"proven": "links", "models": {"a": "ok"}, "not_proven": 0},
        started=1.0,
        small={digest: data},
        versions={"python": "3"},
    )
    return json.loads(encode(made)[len(b'{"digest":"","result":') + 64 : -1])


def test_the_sound_one_is_read(sound):
    assert decode(sealed(sound)) is not None


DEEP: Any = 1
for _ in range(500):
    DEEP = [DEEP]

WRONG = {
    "name": ["", "a\nb", "\x1b[2J", "\ud800", "x" * 5_000, 1, None],
    "facts": [
        {"proven": 1}, {"proven": ["x"]}, {"proven": "", "models": []}, {"proven": "", "models": {"a": 1}},
        {"proven": "", "not_proven": "x"}, {"proven": "", "not_proven": []}, {"lock": DEEP}, {"a": "\ud800"}, [], None,
    ],
    "fields": [[], None, {"a": DEEP}, {"upstream": []}, {"upstream": {"a": 1}}, {"upstream": {"a": {"b": 1}}}],
    "versions": [[], None, {"a": 1}, {"a": None}, {"a": "\ud800"}],
    "host": [1, None, "\ud800", "x" * 5_000, "a\nb"],
    "started": [-1, 1e300, 1 << 59, "1", None, True, 10**400],
    "seconds": [-1, 1e300, "1", None, []],
    "peak_bytes": [-1, 1 << 70, 1.5, "1"],
    "log": ["x", 1, [], "A" * 64],
    "small": [[], None, {"x": ""}, {"a" * 64: "eA=="}, {"a" * 64: 1}],
    "outputs": [
        [], None, {"a.o": None}, {"a.o": []}, {"a.o": ["x", 1, FILE]}, {"a.o": ["a" * 64, "1", FILE]},
        {"a.o": ["a" * 64, -1, FILE]}, {"a.o": ["a" * 64, 1 << 70, FILE]}, {"a.o": ["a" * 64, 1, 0o777]},
        {"a.o": ["a" * 64, True, FILE]}, {"a.o": ["a" * 64, 1, FILE, 1]}, {"/a": ["a" * 64, 1, FILE]},
        {"a/../b": ["a" * 64, 1, FILE]}, {"": ["a" * 64, 1, FILE]},
        {"a": ["a" * 64, 1, FILE], "a/b": ["a" * 64, 1, FILE]},
        {"a" * 300: ["a" * 64, 1, FILE]}, {"\ud800": ["a" * 64, 1, FILE]}, {"a\0b": ["a" * 64, 1, FILE]},
        {"l": ["a" * 64, 1 << 30, LINK]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_any_field_of_the_wrong_shape_makes_it_no_result(sound, field, value):
    assert decode(sealed({**sound, field: value})) is None


def test_unknown_and_missing_fields_make_it_no_result(sound):
    assert decode(sealed({**sound, "more": 1})) is None
    assert decode(sealed({name: value for name, value in sound.items() if name != "key"})) is None
    assert decode(sealed({**sound, "format": 99})) is None


def test_an_inlined_output_has_the_size_that_its_content_has(sound):
    sha256, size, mode = sound["outputs"]["a.o"]
    assert decode(sealed({**sound, "outputs": {"a.o": [sha256, size + 1, mode]}})) is None


def test_file_names_that_are_not_utf8_are_kept(sound):
    name = os.fsdecode(b"caf\xe9.o")
    body = canonical({**sound, "outputs": {name: sound["outputs"]["a.o"]}})
    found = decode(b'{"digest":"%b","result":%b}' % (sha256_bytes(body).encode(), body))
    assert found is not None
    assert list(found.outputs) == [name]


def put(store: Store, key: str, **fields: Any) -> ActionResult:
    made = ActionResult(key, **{"name": "evil:x", "fields": FIELDS, **fields})
    store.hold()
    store.records.put(made)
    return made


def test_a_lie_about_a_size_does_not_cost_the_blob(store, build, tree):
    """A sound blob that others use stays, whatever a result says of it."""
    made = build("compile:a@host", {"a.o": MIDDLE, "b.o": SOME})
    sha256 = made.outputs["a.o"].sha256
    put(store, KEY, outputs={"a.o": Output(sha256, 1)})
    assert store.lookup(KEY) is None
    assert store.blobs.check(sha256, len(MIDDLE))
    store.materialise(store.lookup(made.key).record, tree)
    assert contents(tree) == {"a.o": MIDDLE, "b.o": SOME}


@pytest.mark.parametrize("target", [b"x" * 300, b"a/" * 3_000 + b"b", b"a\0b", b""])
def test_a_symlink_that_no_file_system_bears_is_not_used(store, target):
    outputs = {"l": Output(sha256_bytes(target), len(target), LINK)}
    put(store, KEY, outputs=outputs, small={outputs["l"].sha256: target})
    assert store.lookup(KEY) is None
    assert len(store.notes) == 1


ODD = {
    "pipe": os.mkfifo,
    "zeros": lambda path: Path(path).symlink_to("/dev/zero"),
    "loop": lambda path: Path(path).symlink_to(path),
    "folder": lambda path: Path(path).mkdir(),
    "dangling link": lambda path: Path(path).symlink_to("/nowhere/at/all"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("size", [len(SOME), len(BIG)])
def test_something_else_where_a_blob_should_be_is_a_damaged_blob(store, build, tree, kind, size):
    data = SOME if size == len(SOME) else BIG
    made = build("compile:a@host", {"a.o": data})
    path = store.blobs.path(made.outputs["a.o"].sha256)
    Path(path).unlink()
    ODD[kind](path)
    assert store.lookup(made.key) is None
    again = build("compile:a@host", {"a.o": data})
    store.materialise(again, tree)
    assert contents(tree) == {"a.o": data}
    assert store.lookup(made.key) is not None


@pytest.mark.parametrize("kind", ODD)
def test_something_else_where_a_result_should_be_is_a_damaged_result(store, build, kind):
    made = build("compile:a@host", {"a.o": SOME})
    path = store.records.path(made.key)
    Path(path).unlink()
    ODD[kind](path)
    assert store.lookup(made.key) is None
    assert store.lookup(build("compile:a@host", {"a.o": SOME}).key) is not None
    assert list(store.records.all())


@pytest.mark.parametrize("kind", ODD)
def test_something_else_in_a_store_that_is_merged_is_left_there(store, build, tmp_path, kind):
    blob, record = build("compile:a@host", {"a.o": BIG}), build("compile:b@host", {"b.o": SOME})
    good = build("compile:c@host", {"c.o": SOME[::-1]})
    for path in (store.blobs.path(blob.outputs["a.o"].sha256), store.records.path(record.key)):
        Path(path).unlink()
        ODD[kind](path)
    other = Store(tmp_path / "other")
    began = time.monotonic()
    done = transfer(Store(store.top, read_only=True), other)
    assert time.monotonic() - began < 5
    assert done.records == 1
    assert other.lookup(good.key) is not None
    other.close()


def test_a_huge_file_where_a_result_should_be_is_not_read(store, build):
    made = build("compile:a@host", {"a.o": SOME})
    with Path(store.records.path(made.key)).open("r+b") as file:
        file.truncate(1 << 36)
    began = time.monotonic()
    assert store.lookup(made.key) is None
    assert time.monotonic() - began < 2


def test_one_warning_for_one_bad_result(store, build, tmp_path):
    made = build("compile:a@host", {"a.o": SOME})
    path = store.records.path(made.key)
    write_atomic(path, b"rubbish")
    assert store.lookup(made.key) is None
    assert store.lookup(made.key) is None
    stats(store)
    assert len(store.notes) == 1


def test_a_result_that_claims_more_than_the_disk_has_is_not_fetched(store, build):
    """See `test_store_remote` for what a server sends; here nothing must be asked at all."""
    asked = []

    class Fake:  # fake of a remote that has everything
        write = False

        def record(self, _key):
            return ActionResult(KEY, "evil:x", FIELDS, {"a.o": Output("a" * 64, 1 << 46)})

        def fetch(self, *wanted):
            asked.append(wanted)
            return False

        def close(self):
            pass

    store.remote = Fake()
    assert store.lookup(KEY) is None
    assert store.lookup(KEY) is None
    assert not asked
    assert len(store.notes) == 1
    assert "more than" in store.notes[0]


def test_names_of_results_are_those_of_dataclass_fields(sound):
    """What `decode` accepts is what `encode` writes: nobody adds a field to one of them alone."""
    assert set(sound) == {one.name for one in dataclasses.fields(ActionResult)} | {"format"}
    assert hashlib.sha256(b"").hexdigest() != KEY
