"""The filters of the templates: what goes in comes out when the language's own tool reads it."""

from __future__ import annotations

import re
import shlex
import sys
import xml.etree.ElementTree as ET

import pytest
from fake_models import run_tool
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kits import escaping as quoting

NASTY = [
    "plain",
    "with space",
    'a "quoted" word',
    "it's",
    "back\\slash \\n \\",
    "$dollar ${braces} $(parens) #{hash} \\(swift)",
    "semi;colon,comma",
    "trigraph ??/ ??=",
    "\\x41 \\101 7 bytes",
    "größe 模型 🙂",
    "100% {0} {{x}} {% raw %} <&>",
    "",
]
TEXT = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=["Cs", "Cc"]))


def test_c_compilers_read_it_back(tmp_path):
    lines = "".join(f"  puts({quoting.c_string(text)});\n" for text in NASTY)
    (tmp_path / "main.c").write_text(f"#include <stdio.h>\nint main(void) {{\n{lines}  return 0;\n}}\n")
    run_tool("cc", "-std=c99", "-Wall", "-Werror", tmp_path / "main.c", "-o", tmp_path / "main")
    assert run_tool(str(tmp_path / "main")).splitlines() == NASTY


def test_rustc_reads_it_back(tmp_path):
    lines = "".join(f'  println!("{{}}", {quoting.rust(text)});\n' for text in NASTY)
    (tmp_path / "main.rs").write_text(f"fn main() {{\n{lines}}}\n", encoding="utf-8")
    run_tool("rustc", "main.rs", cwd=tmp_path)
    assert run_tool(str(tmp_path / "main")).splitlines() == NASTY


def test_cmake_reads_it_back(tmp_path):
    lines = "".join(f'file(APPEND out.txt "{quoting.cmake(text)}" "\\n")\n' for text in NASTY)
    (tmp_path / "script.cmake").write_text(lines, encoding="utf-8")
    run_tool("cmake", "-P", "script.cmake", cwd=tmp_path)
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == NASTY


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with 3.11")
@given(TEXT)
def test_toml_is_read_back(text):
    import tomllib

    assert tomllib.loads(f"x = {quoting.toml(text)}") == {"x": text}


@given(TEXT)
def test_xml_is_read_back(text):
    if re.search("[\ufffe\uffff\x85\u2028]", text):
        return  # not characters of XML, or ends of lines in it
    root = ET.fromstring(f"<a b={quoting.xml(text)}/>")  # noqa: S314 - our own text
    assert root.attrib == {"b": text}


@given(TEXT)
def test_a_word_of_an_xcconfig_stays_one_word(text):
    if "$" in text or "//" in text:
        with pytest.raises(ValueError, match="cannot be written in an xcconfig"):
            quoting.xcconfig(text)
    else:
        assert shlex.split(quoting.xcconfig(text)) == [text]


@pytest.mark.parametrize(("language", "delimiter"), [("swift", '"'), ("ruby", "'"), ("groovy", "'")])
@given(TEXT)
def test_nothing_ends_a_literal_early(language, delimiter, text):
    literal = quoting.FILTERS[language](text)
    assert literal[0] == literal[-1] == delimiter
    body, i, plain = literal[1:-1], 0, ""
    while i < len(body):
        assert body[i] != delimiter
        if body[i] == "\\":
            i += 1
            assert body[i] in f"\\{delimiter}"  # no other escape, so no interpolation
        plain += body[i]
        i += 1
    assert plain == text


@pytest.mark.parametrize("language", sorted(set(quoting.FILTERS) - {"json", "signature", "identifier", "comment"}))
def test_control_characters_are_refused(language):
    with pytest.raises(ValueError, match="control characters"):
        quoting.FILTERS[language]("one\ntwo")


@given(st.text())
def test_an_identifier_is_one_in_every_language(text):
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", quoting.identifier(text))


@given(st.text())
def test_a_comment_stays_in_its_line(text):
    safe = quoting.comment(text)
    assert not re.search(r"[\x00-\x1f]|\*/|--", safe)
