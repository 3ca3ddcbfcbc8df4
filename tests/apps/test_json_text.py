"""Finding values in JSON texts of any formatting."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.apps.json_text import Edit, applied, elements, indent_of, members, parse, step_of
from pipeline.errors import SlipwayError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SPACE = st.text(" \t\n\r", max_size=3)


@st.composite
def texts(draw, values=VALUES):
    """A value, and a text of it with white space wherever JSON allows any."""
    value = draw(values)
    return value, draw(SPACE) + draw(_written(value)) + draw(SPACE)


def _written(value):
    gap = SPACE
    if isinstance(value, dict):
        pairs = [st.tuples(st.just(json.dumps(k)), gap, st.just(":"), gap, _written(v)).map("".join)
                 for k, v in value.items()]  # fmt: skip
        return _joined("{", pairs, "}")
    if isinstance(value, list):
        return _joined("[", [_written(item) for item in value], "]")
    return st.sampled_from([json.dumps(value), json.dumps(value, ensure_ascii=False)])


@st.composite
def _joined(draw, opening, parts, closing):
    text = opening + draw(SPACE)
    for number, part in enumerate(parts):
        text += (("," + draw(SPACE)) if number else "") + draw(part) + draw(SPACE)
    return text + closing


@given(texts())
def test_every_value_is_found_where_it_is(pair):
    value, text = pair
    whole = parse(text, "f.json")
    assert whole.value == value
    assert not text[: whole.start].strip()
    assert not text[whole.end :].strip()
    _check(text, whole)


def _check(text, span):
    assert json.loads(text[span.start : span.end]) == span.value
    if isinstance(span.value, dict):
        found = members(text, span)
        assert {member.key: member.value.value for member in found} == span.value
        assert all(text[member.start] == '"' for member in found)
        for member in found:
            _check(text, member.value)
    elif isinstance(span.value, list):
        assert [one.value for one in elements(text, span)] == span.value
        for one in elements(text, span):
            _check(text, one)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "f.json:1:1"),
        ("{", "f.json:1:2"),
        ('{"a": 1} x', "f.json:1:10"),
        ('{\n  "a": 1,\n}', "f.json:"),
        ("// a comment", "f.json:1:1"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text, place):
    with pytest.raises(SlipwayError, match="is no JSON") as caught:
        parse(text, "f.json")
    assert str(caught.value).startswith(place)


def test_a_text_nested_too_deeply_is_refused():
    with pytest.raises(SlipwayError, match="nested"):
        parse("[" * 100_000, "f.json")


def test_edits_do_not_move_one_another():
    assert applied("abcdef", [Edit(1, 2, "BBB"), Edit(4, 4, "-"), Edit(5, 6, "")]) == "aBBBcd-e"


def test_indentation():
    text = '{\n\t"a": [\n\t\t1, 2\n\t]\n}'
    assert indent_of(text, text.index('"a"')) == "\t"
    assert indent_of(text, text.index("1")) == "\t\t"
    assert indent_of(text, text.index("2")) is None
    assert step_of(text) == "\t"
    assert step_of("{}") == "  "
