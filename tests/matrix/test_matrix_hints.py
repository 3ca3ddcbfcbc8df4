"""A hint says what to write, and writing that is no error any more: each slip is answered, then answered as told."""

from __future__ import annotations

import re

import pytest

from pipeline.errors import MatrixError
from pipeline.matrix.expand import load

DEVICE = "devices:\n  pixel: {{gpu: mali, ram: {ram}, os: {os}, usable: {usable}}}\n"
STEP = "steps:\n  mine: {{{more}command: {command}, outputs: [b]}}\n"


def device(ram="8GB", os="android", usable="0.5"):
    return DEVICE.format(ram=ram, os=os, usable=usable)


def step(command, more=""):
    return STEP.format(command=command, more=more)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (device(ram="8"), "write a number and MB, GB, MiB or GiB, like 4GB"),
        (device(os="windows"), "known values: android, ios"),
        (device(os="andriod"), "did you mean `android`?"),
        (device(usable="60"), "write a number that is more than 0 and at most 1"),
        ("devices:\n", "write below it, further to the right, what belongs to it, or remove the key"),
        (step('"cp a b"'), "write it in brackets: [cp, a, b]"),
        (step('[cp, "{model}"]'), "it stands for something in a step with `for: model`"),
        (step('[cp, "{arch}"]', "for: model, "), "it stands for something in a step with `for: cell`"),
        (step('[cp, "{in.config}"]'), "declare `config` under `inputs`"),
    ],
)
def test_a_hint_is_for_this_very_value(good, refuse, wrong, hint):
    assert f"\n  hint: {hint}" in refuse(good + wrong)


def test_what_should_be_a_mapping_is_shown_as_one(good, refuse):
    said = refuse(good.replace("f32: {dtype: float32}", "f32: float32"))
    assert "expected a mapping, not text\n  hint: write keys and values: {dtype: float32}" in said


@pytest.mark.parametrize("word", ["no", "Off", "yes", "ON"])
@pytest.mark.parametrize(
    "place",
    [
        ("variants:\n      f32: {language: WORD}", "variants.f32.language"),
        ("variants:\n      f32: {overrides: {a: [1, {b: WORD}]}}", "variants.f32.overrides.a[1].b"),
        ("options: {x: {language: WORD}}\n    variants:\n      f32: {}", "options.x.language"),
    ],
)
def test_a_word_that_is_a_truth_value_to_yaml_1_1_alone_is_no_option(good, refuse, expand, place, word):
    written, path = place
    text = good.replace("variants:\n      f32: {dtype: float32}", written)
    said = refuse(text.replace("WORD", word))
    meant = "true" if word in {"yes", "ON"} else "false"
    assert f"models.minilm.{path}: {word} is {meant} to YAML, and text to other readers" in said
    assert f'hint: write it in quotes: "{word}"; or {meant}' in said
    for cure in (f'"{word}"', meant, meant.title()):
        expand(text.replace("WORD", cure))


def test_a_truth_value_where_a_mapping_belongs_is_shown_in_quotes(good, refuse):
    said = refuse(good.replace("f32: {dtype: float32}", "f32: no"))
    assert 'expected a mapping, not true or false\n  hint: write keys and values: {dtype: "no"}' in said


@pytest.mark.parametrize("key", ["estimated_vram", "estimated-vram-bytes", "system_lib"])
def test_the_beginning_of_a_key_of_ours_is_no_option(good, refuse, key):
    assert "this looks like `" in refuse(good.replace("f32: {dtype: float32}", f"f32: {{dtype: float32, {key}: 3}}"))


def test_versions_that_are_understood_are_named(good, refuse):
    assert "understands version 1 alone\n  hint: write `version: 1`" in refuse(good.replace("version: 1", "version: 2"))
    assert "hint: add `version: 1`" in refuse(good.replace("version: 1\n", ""))


def test_a_file_with_another_ending_is_found(tmp_path, good):
    (tmp_path / "targets.yml").write_text(good)
    with pytest.raises(MatrixError, match=r"rename it to targets.yaml"):
        load(tmp_path / "targets.yaml")


# What would otherwise be taken for something else, in silence

SILENT = (
    ("factory: recipe.py:build\n", "factory: recipe.py:build\n    check:\n", "check: nothing stands behind this key"),
    ("{dtype: float32}", "{check: recipe.py:check}", "`check` is a key of the model, not of a variant"),
    ("{dtype: float32}", "{options: {dtype: float32}}", "`options` is a key of the model, not of a variant"),
    ("{dtype: float32}", "{aspect: 16:9}", "16:9 is 969 to YAML"),
    ("{dtype: float32}", "{mode: 010}", "010 is 8 to YAML"),
    ("ios: {preset: iphone}", "ios: {preset: iphone, runners: }", "runners: nothing stands behind this key"),
    ("recipe.py:build\n", "{function: recipe.py:build, reads: [.]}\n", "`.` holds this project itself"),
    ("recipe.py:build\n", "{function: recipe.py:build, reads: [/]}\n", "`/` holds this project itself"),
    ("factory: recipe.py:build\n", "onnx: folder.py\n", "`folder.py` is a directory"),
    ("recipe.py:build\n", "folder.py:build\n", "`folder.py` is a directory"),
)


@pytest.mark.parametrize("case", SILENT)
def test_what_would_do_nothing_or_something_else_is_refused(good, refuse, project, case):
    right, odd, what = case
    (project / "folder.py").mkdir()
    said = refuse(good.replace(right, odd, 1))
    assert re.match(r"targets\.yaml:\d+:\d+: .*\n  hint: ", said), said
    assert what in said
