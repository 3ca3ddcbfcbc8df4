"""Kinds of model by patterns of their names: the table "Model Type Flags" of the AVA manual."""

from __future__ import annotations

import pytest

from pipeline.compilers.mlc_refusals import check_model_type, other_type
from pipeline.documents.codec import encode
from pipeline.documents.probe import MlcProbe
from pipeline.errors import StepError
from pipeline.plan import plan

TYPES = """\
model_types:
  AVA-LL32-*: llama
  AVA-GE2-*: gemma2
  AVA-GE3-*: gemma3
  AVA-QW3-*: qwen2
  AVA-MI7-*: mistral
  AVA-PH3-*: phi3
"""
NAMES = {
    "AVA-LL32-1B16": "llama", "AVA-GE2-2B16": "gemma2", "AVA-GE3-4B16": "gemma3", "AVA-QW3-17B16": "qwen2",
    "AVA-MI7-7B16": "mistral", "AVA-PH3-4B16": "phi3",
}  # fmt: skip
MODEL = "  {}: {{compiler: mlc, weights: {{hf: a/b, revision: main}}, variants: {{q4: {{model_lib: lib_{}{}}}}}}}\n"
REST = """\
backends: {mali: {preset: "android:mali"}}
matrix: {model: [%s], backend: [mali]}
"""


def text(types, names=NAMES, more=""):
    models = "".join(MODEL.format(name, name.replace("-", "_"), more) for name in names)
    return f"version: 1\nmodels:\n{models}{types}{REST % ', '.join(names)}"


def told(matrix):
    return {model.model: model.options.get("model_type") for model in matrix.models}


def test_the_table_of_the_manual(expand):
    matrix = expand(text(TYPES))
    assert told(matrix) == NAMES
    assert matrix.remarks == ()


def test_a_model_that_says_it_itself_wins(expand):
    matrix = expand(text(TYPES, ["AVA-QW3-17B16"], ", model_type: qwen3"))
    assert told(matrix) == {"AVA-QW3-17B16": "qwen3"}
    assert any("AVA-QW3-17B16 says itself that it is qwen3, not qwen2" in one for one in matrix.remarks)


def test_the_first_pattern_that_fits_holds_and_others_are_told(expand):
    matrix = expand(text("model_types: {AVA-*: llama, AVA-QW3-*: qwen2, 'AVA-QW?-*': llama}\n", ["AVA-QW3-17B16"]))
    assert told(matrix) == {"AVA-QW3-17B16": "llama"}
    (said,) = matrix.remarks
    assert said.endswith("targets.yaml:4:29: AVA-QW3-17B16 fits `AVA-*`, too, and is llama by that, not qwen2")


def test_a_pattern_that_fits_nothing_is_told(expand):
    (said,) = expand(text("model_types: {AVA-LL32-*: llama, AVA-LL31-*: llama}\n", ["AVA-LL32-1B16"])).remarks
    assert said.endswith("targets.yaml:4:34: `AVA-LL31-*` fits the name of no model of mlc_llm's")


def test_a_model_of_another_compiler_has_no_such_type(expand, good):
    matrix = expand(good + "model_types: {minilm: bert}\n")
    assert set(told(matrix).values()) == {None}
    assert "fits the name of no model of mlc_llm's" in matrix.remarks[0]


def test_without_patterns_nothing_is_another(expand):
    def keys(matrix):
        return [encode(action.params) for action in plan(matrix, {})]

    plain = keys(expand(text("")))
    assert plain == keys(expand(text("model_types: {x*: llama}\n")))
    assert plain != keys(expand(text(TYPES)))


@pytest.mark.parametrize("types", ["model_types: [llama]\n", "model_types: {AVA-*: 3}\n", "model_types: {AVA-*: }\n"])
def test_what_is_no_pattern_and_type(refuse, types):
    assert refuse(text(types)).startswith("targets.yaml:9:")


KNOWN = MlcProbe("package", "0.15", None, ("gemma2", "llama", "mistral", "qwen2"), None, None)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("qwen3", "use a toolchain with a newer mlc_llm; or take objects"),
        ("lama", "did you mean `llama`? If not, use a toolchain with a newer mlc_llm"),
        ("granite", "use a toolchain with a newer mlc_llm"),
    ],
)
def test_a_type_that_the_toolchain_does_not_know(asked, hint):
    with pytest.raises(
        StepError, match=f"toolchain old does not know the architecture '{asked}'; it knows gemma2"
    ) as bad:
        check_model_type(asked, "old", KNOWN)
    assert bad.value.hint.startswith(hint)
    assert "`prebuilt:` in place of `compiler: mlc`" in bad.value.hint
    check_model_type("qwen2", "old", KNOWN)


def test_a_type_that_the_config_contradicts_is_told():
    assert other_type("qwen2", {"model_type": "qwen3"}) == "compiled as qwen2, and its config says qwen3"
    assert other_type("qwen2", {"model_type": "qwen2"}) is None
    assert other_type(None, {"model_type": "qwen3"}) is None
    assert other_type("llama", {}) is None
