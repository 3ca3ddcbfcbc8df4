"""Records go into an app's own file; every other character of it stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.apps.merge_records import merge
from pipeline.errors import SlipwayError

OURS = {
    "model_id": "Qwen3-0.6B-q4f16_1-MLC",
    "model_lib": "qwen3_q4f16_1_new",
    "model_path": "Qwen3-0.6B-q4f16_1-MLC",
    "estimated_vram_bytes": 1_500_000_000,
}

APP = """\
{
    "version" :  2,
    "model_list": [
        {
            "model_id": "Llama",   "model_lib": "llama_x",
            "note": "caf\\u00e9 é", "sizes": [1,2 , 3]
        },
        {
            "model_lib": "qwen3_q4f16_1_old",
            "model_id": "Qwen3-0.6B-q4f16_1-MLC",
            "display": "Qwen 3"
        }
    ],
    "last": 1.50e2
}
"""


def test_a_record_that_is_there_gets_our_values_and_keeps_its_own():
    merged = merge(APP, [OURS], "app.json")
    assert merged.text == APP.replace("qwen3_q4f16_1_old", "qwen3_q4f16_1_new").replace(
        '"display": "Qwen 3"\n',
        '"display": "Qwen 3",\n            "model_path": "Qwen3-0.6B-q4f16_1-MLC",\n'
        '            "estimated_vram_bytes": 1500000000\n',
    )
    (change,) = merged.changes
    assert not change.added
    assert change.fields["model_lib"] == ("qwen3_q4f16_1_old", "qwen3_q4f16_1_new")
    assert set(change.fields) == {"model_lib", "model_path", "estimated_vram_bytes"}


def test_merging_again_changes_nothing():
    once = merge(APP, [OURS], "app.json").text
    again = merge(once, [OURS], "app.json")
    assert (again.text, again.changes, again.unchanged) == (once, (), (OURS["model_id"],))


@pytest.mark.parametrize("own", [{"model_path": "webllm-assets/qwen"}, {"model_url": "https://example.com/m"}])
def test_where_its_weights_are_is_the_apps_own_decision(own):
    text = json.dumps({"model_list": [{"model_id": OURS["model_id"], "model_lib": "old", **own}]}, indent=2)
    merged = merge(text, [OURS], "app.json")
    record = json.loads(merged.text)["model_list"][0]
    assert record == {
        "model_id": OURS["model_id"], "model_lib": OURS["model_lib"], **own, "estimated_vram_bytes": 1_500_000_000
    }  # fmt: skip
    assert merged.changes[0].kept == tuple(own)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"model_list": []}', '{"model_list": [{"model_id": "M", "model_lib": "m"}]}'),
        ('{"model_list": [{"model_id": "a"}], "x": 1}', '{"model_list": [{"model_id": "a"}, NEW], "x": 1}'),
        (
            '{\n\t"model_list": []\n}\n',
            '{\n\t"model_list": [\n\t\t{\n\t\t\t"model_id": "M",\n\t\t\t"model_lib": "m"\n\t\t}\n\t]\n}\n',
        ),
        (
            '{\r\n  "model_list": [\r\n    {"model_id": "a"}\r\n  ]\r\n}',
            '{\r\n  "model_list": [\r\n    {"model_id": "a"},\r\n    NEW\r\n  ]\r\n}',
        ),
        (
            '{\n  "model_list": [{\n    "model_id": "a"\n  }]\n}',
            '{\n  "model_list": [{\n    "model_id": "a"\n  }, {\n    "model_id": "M",\n    "model_lib": "m"\n  }]\n}',
        ),
        (
            '{\n "model_list": [\n  {\n   "model_id": "a"\n  }\n ]\n}',
            (
                '{\n "model_list": [\n  {\n   "model_id": "a"\n  },\n'
                '  {\n   "model_id": "M",\n   "model_lib": "m"\n  }\n ]\n}'
            ),
        ),
    ],
    ids=["one-line-empty", "one-line", "empty", "crlf-compact", "braces-in-one-line", "spread"],
)
def test_a_record_that_is_missing_is_written_like_the_others(text, wanted):
    merged = merge(text, [{"model_id": "M", "model_lib": "m"}], "app.json")
    assert merged.text == wanted.replace("NEW", '{"model_id": "M", "model_lib": "m"}')
    assert merged.changes[0].added


def test_a_field_with_parts_keeps_its_shape():
    theirs = {"model_list": [{"model_id": "M", "integrity": {"config": "a"}}]}
    text = json.dumps(theirs, indent=2) + "\n"
    record = {"model_id": "M", "integrity": {"config": "b", "model_lib": "c"}}
    assert merge(text, [record], "f").text == text.replace(
        '"config": "a"\n', '"config": "b",\n        "model_lib": "c"\n'
    )
    flat = json.dumps(theirs)
    assert merge(flat, [record], "f").text == flat.replace('"config": "a"', '"config": "b", "model_lib": "c"')


def test_true_is_not_one():
    text = '{"model_list": [{"model_id": "M", "low_resource_required": 1}]}'
    assert "true" in merge(text, [{"model_id": "M", "low_resource_required": True}], "f").text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[]", "has no `model_list`"),
        ('{"models": []}', "has no `model_list`"),
        ('{"model_list": {}}', "has no `model_list`"),
        ('{"model_list": [], "model_list": []}', "has no `model_list`"),
        ('{"model_list": [{}]}', "record 1 of model_list has no model_id"),
        ('{"model_list": [{"model_id": "a"}, {"model_id": "a"}]}', "has a twice"),
        ('{"model_list": [ // mine\n]}', "is no JSON"),
    ],
)
def test_a_file_that_is_no_list_of_models_is_refused(text, what):
    with pytest.raises(SlipwayError, match=what) as caught:
        merge(text, [OURS], "app.json")
    assert str(caught.value).startswith("app.json")


IDS = st.sampled_from(["a", "b", "Qwen3-0.6B-q4f16_1-MLC", "é", "with space"])
FIELDS = st.dictionaries(
    st.sampled_from(["model_lib", "note", "estimated_vram_bytes", "model_url", "extra"]),
    st.text(max_size=6) | st.integers() | st.lists(st.integers(), max_size=3) | st.none(),
    max_size=4,
)
RECORDS = st.dictionaries(IDS, FIELDS, max_size=4).map(
    lambda found: [{"model_id": name, **fields} for name, fields in found.items()]
)
SHAPES = st.sampled_from([{"indent": 2}, {"indent": 4}, {"indent": "\t"}, {"indent": None}, {"separators": (",", ":")}])
NEWLINES = st.sampled_from(["\n", "\r\n"])


@given(RECORDS, RECORDS, SHAPES, NEWLINES, st.booleans())
def test_other_records_stay_byte_for_byte_and_ours_arrive(theirs, ours, shape, newline, ascii_only):
    text = json.dumps({"before": [1, "é"], "model_list": theirs, "after": {"x": 1}}, ensure_ascii=ascii_only, **shape)
    text = text.replace("\n", newline)
    merged = merge(text, ours, "app.json")
    after = json.loads(merged.text)
    assert list(after) == ["before", "model_list", "after"]
    assert (after["before"], after["after"]) == ([1, "é"], {"x": 1})

    ids = [record["model_id"] for record in theirs]
    known = {record["model_id"]: record for record in ours}
    added = [record["model_id"] for record in ours if record["model_id"] not in ids]
    assert [record["model_id"] for record in after["model_list"]] == [*ids, *added]
    for old, new in zip(theirs, after["model_list"], strict=False):
        mine = known.get(old["model_id"], {})
        kept = {key for key in ("model_url",) if key in old}
        assert new == {**old, **{key: value for key, value in mine.items() if key not in kept}}
        assert list(new)[: len(old)] == list(old)
    for record in after["model_list"][len(theirs) :]:
        assert record == known[record["model_id"]]

    # Whatever is not a record of ours is there as it was written: cut ours out of both texts, and compare.
    assert _without(merged.text, known) == _without(text, known)
    if shape.get("indent") is None:
        assert newline not in merged.text
    elif newline == "\r\n":
        assert "\n" not in merged.text.replace("\r\n", "")
    assert merge(merged.text, ours, "app.json").text == merged.text


def _without(text, ours):
    """A text without records of ours, the white space around them and the commas between records."""
    from pipeline.apps.json_text import elements, members, parse

    whole = parse(text, "f")
    listed = next(member.value for member in members(text, whole) if member.key == "model_list")
    rest = [text[one.start : one.end] for one in elements(text, listed) if one.value["model_id"] not in ours]
    return text[: listed.start], rest, text[listed.end :]
