"""Templates: the user's replace ours, and a mistake in one is shown where it is."""

from __future__ import annotations

import pytest
from fake_kits import HOST, IOS

from pipeline.errors import StepError
from pipeline.kits.render import OURS, Templates, ours


def test_a_template_of_the_user_replaces_ours(make_kit, tmp_path):
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "exported_symbols.txt.j2").write_text("{% include '_head.j2' %}{{ product }}: {{ models | length }}\n")
    (mine / "_head.j2").write_text("# mine\n")
    kit = make_kit("xcframework", [IOS], templates=mine)
    assert (kit / "models.exported_symbols.txt").read_text() == "# mine\nmodels: 2\n"
    assert "swift-tools-version" in (kit / "Package.swift").read_text()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("one\ntwo {{ prodct }}\n", 2, "'prodct' is undefined"),
        ("{% for model in models %}\n{{ model.prefx }}\n{% endfor %}\n", 2, "has no attribute 'prefx'"),
        ("one\n{% if product %}\n", 2, "Unexpected end of template"),
        ("one\n\n{{ 1 / 0 }}\n", 3, "ZeroDivisionError"),
        ("{% include 'nowhere.j2' %}\n", 1, "includes nowhere.j2, which does not exist"),
    ],
    ids=["variable", "attribute", "syntax", "arithmetic", "include"],
)
def test_a_mistake_in_a_template_is_shown_with_its_line(make_kit, tmp_path, text, line, message):
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "podspec.j2").write_text(text)
    with pytest.raises(StepError) as caught:
        make_kit("xcframework", [IOS], templates=mine)
    said = str(caught.value)
    assert said.startswith(f"{mine / 'podspec.j2'}:{line}: ")
    assert message in said
    if "undefined" in message:
        assert "archive, archives, callable, common_models, cpp_namespace, deployment_targets, frameworks" in said


@pytest.mark.parametrize("template", ours())
def test_a_template_that_says_nothing_is_refused(tmp_path, template):
    for number, text in enumerate(
        ["", "{% if false %}lost{% endif %}\n", "// all\n# of it\n/* left\nout */ <!-- -->\n"]
    ):
        mine = tmp_path / f"templates{number}"
        mine.mkdir()
        (mine / template).write_text(text)
        with pytest.raises(StepError, match="that says nothing") as caught:
            Templates(mine).render(template.removesuffix(".j2"), {})
        assert caught.value.where == mine / template


@pytest.mark.parametrize(
    ("template", "text"),
    [("package.json", '{"name": "x",}'), ("pom.xml", '<?xml version="1.0"?><project><a></project>')],
)
def test_what_is_not_of_its_format_is_refused(tmp_path, template, text):
    (tmp_path / f"{template}.j2").write_text(text)
    with pytest.raises(StepError, match=f"a {template} that cannot be read: .*line 1"):
        Templates(tmp_path).render(template, {})


@pytest.mark.parametrize("included", ['"/home/me/own.hpp"', "</home/me/own.hpp>", '"../../../own.hpp"'])
def test_a_template_that_includes_what_is_not_in_the_kit_is_refused(make_kit, tmp_path, included):
    mine = tmp_path / "templates"
    mine.mkdir()
    text = (OURS / "core.cpp.j2").read_text()
    (mine / "core.cpp.j2").write_text(f'{text}\n#include "../include/models.hpp"\n')
    make_kit("native", [HOST], templates=mine)
    (mine / "core.cpp.j2").write_text(f"{text}\n #  include {included}\n")
    with pytest.raises(StepError, match=r"includes .*own\.hpp, which is not in the kit") as caught:
        make_kit("native", [HOST], templates=mine)
    assert caught.value.where == mine / "core.cpp.j2"
    assert "{% include '_name.j2' %}" in caught.value.hint


def test_a_template_that_replaces_nothing_is_refused(make_kit, tmp_path):
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "podpsec.j2").write_text("")
    with pytest.raises(
        StepError, match=r"podpsec.j2: this template replaces none of ours\n  hint: did you mean `podspec.j2`\?"
    ):
        make_kit("xcframework", [IOS], templates=mine)
