"""Records go into an app's own file; every other character of it stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.apps.merge_records import merge
from pipeline.documents.app_records import ANDROID, IOS
from pipeline.errors import SlipwayError

OURS = {
    "model_id": "Qwen3-0.6B-q4f16_1-MLC",
    "model_lib": "qwen3_q4f16_1_new",
    "model_path": "Qwen3-0.6B-q4f16_1-MLC",
    "estimated_vram_bytes": 1_500_000_000,
}

APP = """\
{
    "version": 2,
    "model_list": [
        {
            "model_id": "Llama",
            "model_lib": "llama_x",
            "note": "café"
        },
        {
            "model_lib": "qwen3_q4f16_1_old",
            "model_id": "Qwen3-0.6B-q4f16_1-MLC",
            "display": "Qwen 3"
        }
    ],
    "last": 1.5
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
    fields = {one.name: (one.old, one.new) for one in change.fields}
    assert fields["model_lib"] == ("qwen3_q4f16_1_old", "qwen3_q4f16_1_new")
    assert set(fields) == {"model_lib", "model_path", "estimated_vram_bytes"}


def test_a_file_that_is_right_stays_byte_for_byte():
    text = '{ "model_list" : [ {"model_id": "caf\\u00e9",\n"model_lib":"m"} ], "x": 1.50e2 }'
    assert merge(text, [{"model_id": "café", "model_lib": "m"}], "f").text == text


WEB = {
    "model": "https://huggingface.co/mlc-ai/Qwen",
    "model_id": "Qwen",
    "model_lib": "https://example.org/Qwen-webgpu.wasm",
    "low_resource_required": True,
}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({**WEB, "model_id": "a"}, OURS),
        ({**WEB, "model_id": OURS["model_id"]}, OURS),
        ({**OURS, "model_id": "a"}, WEB),
        ({"model_id": "a", "model_url": "https://example.org/a"}, WEB),
        ({"model_id": "a", "model_lib": "https://example.org/a.wasm?v=2"}, OURS),
        ({"model_id": "a", "model_lib": "a.wasm#1"}, OURS),
        ({"model_id": "a", "model_lib": "https://example.org/a"}, OURS),
        ({"model_id": "a", "vram_required_MB": 1.5}, OURS),
        ({"model_id": "a", "model_lib": "llama_q4f16_1"}, WEB),
        ({"model_id": OURS["model_id"], "model_lib": "llama_q4f16_1"}, WEB),
    ],
)
def test_a_list_for_another_kind_of_app_is_refused(theirs, ours):
    with pytest.raises(SlipwayError, match="is a list for") as caught:
        merge(json.dumps({"model_list": [theirs]}), [ours], "app.json")
    assert "--product" in caught.value.hint


def test_an_empty_list_of_webllm_is_known_by_what_is_beside_it():
    text = json.dumps({"useIndexedDBCache": False, "model_list": []})
    with pytest.raises(SlipwayError, match="is a list for WebLLM"):
        merge(text, [OURS], "app.json")
    assert json.loads(merge(text, [WEB], "app.json").text)["model_list"] == [WEB]


def test_parts_of_a_field_that_no_build_knows_are_the_apps():
    theirs = {
        **WEB,
        "overrides": {"temperature": 0.1, "context_window_size": 7},
        "integrity": {"config": "sha256-old", "onFailure": "warn"},
    }
    for window in ({}, {"context_window_size": 9}):
        ours = {**WEB, **({"overrides": window} if window else {}), "integrity": {"config": "sha256-new"}}
        (record,) = json.loads(merge(json.dumps({"model_list": [theirs]}), [ours], "f").text)["model_list"]
        assert record["overrides"] == {"temperature": 0.1, **window}
        assert record["integrity"] == {"config": "sha256-new", "onFailure": "warn"}


def test_what_is_null_is_no_decision_of_the_app():
    theirs = {"model_id": OURS["model_id"], "model_lib": "x", "model_url": None, "estimated_vram_bytes": None}
    (record,) = json.loads(merge(json.dumps({"model_list": [theirs]}), [OURS], "f").text)["model_list"]
    assert {key: record[key] for key in OURS} == OURS


def test_the_apps_own_host_and_memory_stay():
    theirs = {**WEB, "model": "https://cdn.example.org/qwen", "overrides": {"context_window_size": 1024}}
    merged = merge(json.dumps({"model_list": [theirs]}), [WEB], "f")
    assert json.loads(merged.text)["model_list"] == [{**WEB, "model": "https://cdn.example.org/qwen"}]
    (change,) = merged.changes
    assert [(one.name, one.new) for one in change.fields] == [("overrides", None)]
    assert change.kept == ("model",)
    own = {**OURS, "estimated_vram_bytes": 1}
    assert merge(json.dumps({"model_list": [own]}), [OURS], "f").changes == ()


@pytest.mark.parametrize(
    "theirs",
    [
        {"model_list": [{"model_url": "https://x/a", "local_id": "a"}]},
        {"model_libs": ["a"], "model_list": []},
        {"model_lib_map": {"a": "https://x/a.wasm"}, "model_list": []},
        {"model_list": [{"model_url": "https://x/a", "model_id": "a", "model_lib_url": "https://x/a.wasm"}]},
    ],
)
def test_a_list_in_an_old_form_is_called_old(theirs):
    with pytest.raises(SlipwayError, match="form of 2023"):
        merge(json.dumps(theirs), [OURS], "f")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"model_list": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested"),
        ('{"model_list": [], "x": ' + "[" * 200 + "]" * 200 + "}", "nested"),
        ('{"model_list": [], "x": 1' + "0" * 5000 + "}", "digits"),
        ('{"model_list": [], "x": 1e999}', "too large"),
        ('{"model_list": [], "x": NaN}', "NaN"),
        ('{"model_list": [], "x": "\\ud800"}', "surrogate"),
        ('{"model_list": [], "\\ud800": 1}', "surrogate"),
        (json.dumps({"model_list": [{"model_id": str(n)} for n in range(100_000)]}), "100000 records"),
    ],
)
def test_json_beyond_all_bounds_is_refused(text, what):
    with pytest.raises(SlipwayError, match=what):
        merge(text, [OURS], "app.json")


def test_merging_again_changes_nothing():
    once = merge(APP, [OURS], "app.json").text
    again = merge(once, [OURS], "app.json")
    assert (again.text, again.changes, again.unchanged) == (once, (), (OURS["model_id"],))


@pytest.mark.parametrize(("reader", "gets"), [(ANDROID, True), (IOS, False), (None, False)])
def test_what_a_reader_cannot_do_without_is_taken_from_ours(reader, gets):
    ours = {"model_id": "A", "model_lib": "a_x", "model_url": "https://e.org/a", "estimated_vram_bytes": 1}
    text = json.dumps({"model_list": [{"model_id": "A", "model_lib": "a_x", "model_path": "A"}]})
    (record,) = json.loads(merge(text, [ours], "x.json", reader).text)["model_list"]
    assert ("model_url" in record) == gets
    assert record["model_path"] == "A"


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
            '{\n "model_list": [\n  {\n   "model_id": "a"\n  }\n ]\n}',
            (
                '{\n "model_list": [\n  {\n   "model_id": "a"\n  },\n'
                '  {\n   "model_id": "M",\n   "model_lib": "m"\n  }\n ]\n}'
            ),
        ),
    ],
    ids=["one-line-empty", "one-line", "empty", "spread"],
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
        ('{"model_list": [], "model_list": []}', "twice"),
        ('{"model_list": [{}]}', "record 1 of model_list has no model_id"),
        ('{"model_list": [{"model_id": "a"}, {"model_id": "a"}]}', "has a twice"),
        ('{"model_list": [ // mine\n]}', "is not JSON"),
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
def test_other_records_stay_and_ours_arrive(theirs, ours, shape, newline, ascii_only):
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
        kept = {key for key in ("model_url", "estimated_vram_bytes") if old.get(key) is not None}
        assert new == {**old, **{key: value for key, value in mine.items() if key not in kept}}
        assert list(new)[: len(old)] == list(old)
    for record in after["model_list"][len(theirs) :]:
        assert record == known[record["model_id"]]

    if shape.get("indent") is None:
        assert newline not in merged.text
    elif newline == "\r\n":
        assert "\n" not in merged.text.replace("\r\n", "")
    assert merge(merged.text, ours, "app.json").text == merged.text
