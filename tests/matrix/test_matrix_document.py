"""YAML with positions: what is read, where it was, and what is not read."""

from __future__ import annotations

import itertools
import re

import pytest

from pipeline.errors import MatrixError
from pipeline.matrix.document import LARGEST, Document


def problems(text: str) -> list[str]:
    return [str(problem).splitlines()[0] for problem in Document(text, "t").problems.values()]


def refusal(text: str) -> str:
    with pytest.raises(MatrixError) as caught:
        Document(text, "t")
    return str(caught.value)


def test_every_key_and_value_has_its_place():
    document = Document("a:\n  b: [1,\n      x y]\n", "t")
    assert document.value == {"a": {"b": [1, "x y"]}}
    assert str(document.at(["a"], key=True)) == "t:1:1"
    assert str(document.at(["a", "b"], key=True)) == "t:2:3"
    assert str(document.at(["a", "b"])) == "t:2:6"
    assert str(document.at(["a", "b", 1])) == "t:3:7"


def test_a_path_that_leads_nowhere_ends_where_the_way_does():
    document = Document("a:\n  b: 1\n", "t")
    assert str(document.at(["a", "missing", "deeper"], key=True)) == "t:1:1"
    assert str(document.at(["a", "b", "deeper"])) == "t:2:6"
    assert str(document.at([])) == "t:1:1"
    assert str(Document("", "t").at(["a"])) == "t:1:1"


def test_numbers_keep_the_text_they_were_written_as():
    document = Document("version: 14.10\nlist: [1]\n", "t")
    assert document.value["version"] == 14.1
    assert document.written(["version"]) == "14.10"
    assert document.written(["list"]) is None
    assert document.written(["nowhere"]) is None


def test_a_number_of_json_or_of_yaml_1_2_is_one():
    document = Document("[1e-3, 1E5, -1.5e3, .5, -.5, +.5e3, 5., 1_000, 0x1F]\n", "t")
    assert document.value == [0.001, 100000.0, -1500.0, 0.5, -0.5, 500.0, 5.0, 1000, 31]
    assert not document.problems
    texts = Document("""['1e-3', "1E5", !!str 1e-3, 1e-3x, 1.2.3, e3, 12e]\n""", "t")
    assert texts.value == ["1e-3", "1E5", "1e-3", "1e-3x", "1.2.3", "e3", "12e"]


@pytest.mark.parametrize("text", ["0o10", "-010", "08", "0o9", "12:30", "1e999"])
def test_what_is_another_number_to_another_reader_is_refused(text):
    assert problems(f"a: {text}\n")[0].startswith(f"t:1:4: {text} ")


def test_anchors_and_merges_work_and_point_to_where_a_value_is_written():
    document = Document("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nc:\n  <<: [*b, *m]\n  x: 5\n", "t")
    assert document.value["c"] == {"x": 5, "y": 2, "z": 4}
    assert not document.problems
    assert str(document.at(["c", "y"])) == "t:1:20"
    assert str(document.at(["c", "x"])) == "t:5:6"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", "t:3:1: duplicate key `a`"),
        ("a: 2026-01-02\n", "t:1:4: this is a date, which means nothing here"),
        ("a: !!set {b, c}\n", "t:1:4: the tag tag:yaml.org,2002:set is not for this file"),
        ("a: !!omap [b: 1]\n", "t:1:4: the tag tag:yaml.org,2002:omap is not for this file"),
        (f"a: {'9' * 5000}\n", f"t:1:4: {'9' * 40}… cannot be read: it has 5000 characters"),
        (
            "a: !!python/name:os.system x\n",
            "t:1:4: the tag tag:yaml.org,2002:python/name:os.system is not for this file",
        ),
        ("a: [.inf]\n", "t:1:5: .inf is not a finite number"),
        ("on: 1\n", "t:1:1: the key on is not text"),
        ("? [x]\n: 1\n", "t:1:3: a list or a mapping cannot be a key"),
        ("a: &x [*x]\n", "t:1:4: this value contains itself"),
        ("a: 2026-99-99\n", "t:1:4: 2026-99-99 cannot be read: month must be in 1..12"),
        ("a: {<<: 3}\n", "t:1:9: `<<` merges mappings only"),
    ],
)
def test_what_yaml_allows_and_we_do_not(text, where):
    assert problems(text)[0].startswith(where)


def test_a_wrong_value_is_reported_once_however_often_an_alias_repeats_it():
    assert len(problems("a: &x 2026-01-02\nb: *x\nc: [*x, *x]\n")) == 1


def test_the_first_of_two_keys_counts():
    assert Document("a: 1\na: 2\n", "t").value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1, 2\nb: 3\n", "t:2:2: this is not YAML: while parsing a flow sequence"),
        ("a: 1\n---\nb: 1\n", "t:2:1: this is not YAML: expected a single document"),
        ("a:\n<<<<<<< HEAD\n  b: 1\n=======\n  b: 2\n>>>>>>> x\n", "t:2:1: has an unresolved merge conflict"),
        ("a:\n  b: 1\n=======\n  b: 2\n>>>>>>> x\n", "t:3:1: has an unresolved merge conflict"),
        ("a: |\n  =======\nb: *x\n", "t:3:4: this is not YAML: found undefined alias"),
        ("a: *x\n", "t:1:4: this is not YAML: found undefined alias"),
        ("a: b: c\n", "t:1:5: this is not YAML: mapping values are not allowed"),
        ("a: 1\nb: x\x01y\n", "t:2:5: this is not YAML: control characters are not allowed"),
    ],
)
def test_malformed_text_is_refused_with_its_place(text, start):
    assert refusal(text).startswith(start)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a:\n\tb: 1\n", "that is a tab: indent with spaces"),
        ("a:\n  b: 1\n\t", "that is a tab: indent with spaces"),
        ("a: [1,\n  2\nb: 3\n", "quotes there and in line 1, where it begins"),
        ('a: "x\nb: 3\n', "quotes there and in line 1, where it begins"),
        ("a: [1, 2}\n", "quotes there"),
        ("a: *x\n", "quotes there"),
    ],
)
def test_malformed_text_has_a_hint(text, hint):
    assert refusal(text).endswith(hint)


def test_a_few_aliases_that_stand_for_billions_are_refused():
    names = "abcdefghij"
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in itertools.pairwise(names)]
    assert 10 ** len(names) > LARGEST
    assert "stand for too much" in refusal("\n".join(lines))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MatrixError, match="there is no such file\n  hint: write one with: doit init"):
        Document.read(tmp_path / "targets.yaml")
    (tmp_path / "latin").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(MatrixError, match=r"latin:2:1: the file is not UTF-8 text"):
        Document.read(tmp_path / "latin")
    with pytest.raises(MatrixError, match="the file cannot be read"):
        Document.read(tmp_path)


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path):
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert Document.read(tmp_path / "bom").value == {"a": 1}


@pytest.mark.parametrize("text", ["a: " + "[" * 50_000, "a: " + "[x, " * 50_000, "a:\n" + "- " * 50_000])
def test_what_is_nested_too_deeply_is_refused_with_its_place(text):
    assert re.match(r"t:\d+:\d+: this is nested too deeply\n  hint: ", refusal(text))
