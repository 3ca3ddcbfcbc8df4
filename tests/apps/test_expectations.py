"""Which models are expected, from every place that can say so."""

from __future__ import annotations

import json

import pytest

from pipeline.apps.expectations import models_named, models_of_config, models_of_link, of_targets
from pipeline.errors import SlipwayError


def test_names_of_the_command_line_are_prefixes_or_values_of_model_lib():
    found = models_named("bert_large_, Qwen3-0.6, system://phi-3")
    assert [model.prefixes for model in found] == [
        ("bert_large_",),
        ("Qwen3_0.6_", "Qwen3-0.6"),
        ("phi_3_", "system://phi-3"),
    ]


@pytest.mark.parametrize("text", ["", " , "])
def test_no_name_is_a_mistake(text):
    with pytest.raises(SlipwayError, match="names no model"):
        models_named(text)


def test_a_model_lib_becomes_the_prefix_that_mlc_asks_the_runtime_for():
    records = [
        {"model_id": "Qwen3-0.6B-q4f16_1-MLC", "model_lib": "qwen3-q4f16_1-37d2"},
        {"model_lib": "phi_9"},
    ]
    found = models_of_config(json.dumps({"model_list": records}).encode(), "c.json")
    assert [(m.name, m.prefixes, m.asked) for m in found] == [
        ("Qwen3-0.6B-q4f16_1-MLC", ("qwen3_q4f16_1_37d2_",), "qwen3-q4f16_1-37d2"),
        ("phi_9", ("phi_9_",), "phi_9"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no model_list"),
        ('{"model_list": {}}', "has no model_list"),
        ('{"model_list": [{"model_lib": "a"}, {"model_id": "x"}]}', "record 2 of model_list has no model_lib"),
        ('{"model_list": [7]}', "record 1"),
    ],
)
def test_a_config_that_is_none(text, message):
    with pytest.raises(SlipwayError, match=message) as caught:
        models_of_config(text.encode(), "c.json")
    assert str(caught.value).startswith("c.json:")
    assert caught.value.hint


def test_a_kit_tells_platforms_and_archives():
    parts = [
        {"platform": "ios", "archive": "ios/libm.a", "models": ["a-f32", "b-f32"]},
        {"platform": "maccatalyst", "archive": "mac/libm.a", "models": ["a-f32"]},
    ]
    document = {"prefixes": {"a-f32": "a_f32_", "b-f32": "b_f32_"}, "archives": parts}
    first, second = models_of_link(json.dumps(document).encode(), "link.json")
    assert (first.platforms, first.archives) == (
        {"ios", "maccatalyst"},
        {"ios": "ios/libm.a", "maccatalyst": "mac/libm.a"},
    )
    assert (second.prefixes, second.platforms) == (("b_f32_",), {"ios"})
    assert second.is_for(frozenset({"ios"}))
    assert not second.is_for(frozenset({"maccatalyst"}))
    assert second.is_for(frozenset())


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"prefixes": {"a": "b"}, "archives": [{}]}', '{"prefixes": 1, "archives": []}']
)
def test_a_link_json_that_is_none(text):
    with pytest.raises(SlipwayError, match="is not written by this version of Slipway"):
        models_of_link(text.encode(), "link.json")


TARGETS = """
version: 1
models:
  tiny: {factory: "recipe.py:build", system_lib_prefix: tiny_model_a_}
  other: {factory: "recipe.py:build"}
backends:
  phone: {preset: iphone, deployment_target: "14.0"}
  robot: {preset: android}
matrix:
  model: [tiny, other]
  backend: [phone, robot]
  exclude: [{model: other, backend: phone}]
"""


def test_targets_yaml_tells_which_model_is_for_which_platform(tmp_path):
    (tmp_path / "recipe.py").write_text("def build(spec): ...\n")
    (tmp_path / "targets.yaml").write_text(TARGETS)
    (tiny, other), _ = of_targets(tmp_path / "targets.yaml")
    assert (tiny.name, tiny.prefixes, tiny.platforms) == ("tiny-default", ("tiny_model_a_",), {"ios", "android"})
    assert (other.prefixes, other.platforms) == (("other_default_",), {"android"})
