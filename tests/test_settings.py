"""Slipway's variables of the environment: an odd value is an error, and a slip in a name is told."""

from __future__ import annotations

import pytest

from pipeline import settings
from pipeline.doit_plugin import noop
from pipeline.errors import SlipwayError

FLAGS = ["SLIPWAY_STRICT", "SLIPWAY_DEBUG", "SLIPWAY_REMOTE_WRITE", "SLIPWAY_WAIT"]


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["2", "yes", "true", "-1", " 1", "1.0"])
def test_a_flag_takes_nothing_but_0_and_1(name, value):
    with pytest.raises(SlipwayError, match=f"{name} takes 0 or 1, not '{value}'"):
        settings.check({name: value})
    with pytest.raises(SlipwayError, match=name):
        settings.flag(name, {name: value})
    assert not settings.are_plain({name: value})


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf", "1e999", "ten", "5 s"])
def test_seconds_are_a_number_above_0(value):
    with pytest.raises(SlipwayError, match=f"SLIPWAY_CHECK_SECONDS takes seconds, such as 1200, not '{value}'"):
        settings.check({"SLIPWAY_CHECK_SECONDS": value})


def test_what_a_variable_takes_is_taken():
    texts = {name: f"https://x/{name}" for name, kind in settings.TAKES.items() if kind == "text"}
    environ = {**texts, "SLIPWAY_STRICT": "1", "SLIPWAY_WAIT": "0", "SLIPWAY_CHECK_SECONDS": "0.5", "SLIPWAY_DEBUG": ""}
    settings.check(environ)
    assert settings.are_plain(environ)
    assert settings.flag("SLIPWAY_STRICT", environ)
    assert not settings.flag("SLIPWAY_WAIT", environ, default=True)
    assert not settings.flag("SLIPWAY_DEBUG", environ)
    assert settings.flag("SLIPWAY_WAIT", {}, default=True)
    assert settings.seconds("SLIPWAY_CHECK_SECONDS", 7.0, environ) == 0.5
    assert settings.seconds("SLIPWAY_CHECK_SECONDS", 7.0, {}) == 7.0
    assert not settings.are_plain({"SLIPWAY_DEBUG": "1"}), "a log is wanted, though nothing is to do"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SLIPWAY_STRIKT", "SLIPWAY_STRICT"),
        ("SLIPWAY_REMOTE_WRIT", "SLIPWAY_REMOTE_WRITE"),
        ("SLIPWAY_WIAT", "SLIPWAY_WAIT"),
    ],
)
def test_a_slip_in_a_name_is_told(written, meant):
    assert list(settings.slips({written: "1"})) == [
        f"{written} is no variable of Slipway, and does nothing: did you mean {meant}?"
    ]
    assert not settings.are_plain({written: "1"})


@pytest.mark.parametrize(
    "name", ["SLIPWAY_MUTATIONS", "SLIPWAY_KILLS", "SLIPWAY_OUR_OWN_THING", "STRIKT", *settings.TAKES]
)
def test_other_names_are_nobodys_business(name):
    assert list(settings.slips({name: "1"})) == []


@pytest.mark.parametrize("name", settings.TOOL_VARIABLES)
def test_a_variable_by_which_a_tool_is_found_ends_the_stamp(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(name, raising=False)
    noop.save("targets.yaml", "nothing to do", {})
    assert noop.unchanged([]) == "nothing to do"
    monkeypatch.setenv(name, "/elsewhere")
    assert settings.of_tools(name) == "/elsewhere"
    assert noop.unchanged([]) is None


def test_a_variable_that_the_stamp_does_not_have_is_not_read():
    with pytest.raises(KeyError):
        settings.of_tools("VK_LAYER_PATH")
