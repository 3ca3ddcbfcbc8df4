"""The key: the same for the same, another for anything that differs; and differences name what it was."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.action import Action, Upstream
from pipeline.engine import keys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(), JSON, max_size=4)


def document(**changes):
    parts = {"code": "c", "files": {"source": "1"}, "upstream": {"w": {"a": "2"}}, "tools": {"cc": "gcc 12"}} | changes
    action = Action("compile", "m@b", print, params=parts.pop("params", {"p": 1}), memory=parts.pop("memory", 0))
    return keys.document(action, **parts)


def test_every_part_counts():
    base = keys.digest(document())
    others = [
        document(code="d"),
        document(files={"source": "2"}),
        document(upstream={"w": {"a": "3"}}),
        document(tools={"cc": None}),
        document(params={"p": 2}),
    ]
    assert len({base, *map(keys.digest, others)}) == 6


def test_what_changes_no_result_is_not_in_it():
    assert document() == document(memory=5)


@given(DOCUMENTS)
def test_the_order_of_keys_does_not_count(fields):
    shuffled = json.loads(json.dumps(dict(reversed(list(fields.items())))))
    assert keys.digest(shuffled) == keys.digest(fields)


@given(DOCUMENTS, DOCUMENTS)
def test_differences_are_empty_exactly_for_equal_documents(one, two):
    same_key = keys.digest(one) == keys.digest(two)
    if not list(keys.differences(one, two)):
        # None and an absent field are told apart by the key only.
        assert same_key or "null" in json.dumps([one, two])
    else:
        assert not same_key


def test_differences_name_the_field():
    found = list(keys.differences(document(), document(files={"source": "9"}, params={"p": 2})))
    assert found == [("files.source", "1", "9"), ("params.p", 1, 2)]


def test_an_edge_reads_what_its_patterns_name():
    outputs = {"config.json": "1", "sub/config.json": "2", "model.bin": "3"}
    assert keys.read_by(Upstream("weights:m", only=("*config.json",)), outputs) == {
        "config.json": "1", "sub/config.json": "2"
    }  # fmt: skip
    assert keys.read_by(Upstream("weights:m"), outputs) == outputs
