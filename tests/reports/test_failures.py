"""How the failures of a run read at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import StepError
from pipeline.reports.failures import Failure, Failures, shortened


def test_one_cause_is_told_once_however_many_tasks_met_it():
    failures = Failures("/home/me/app")
    for cell in ("compile:m-f32@a", "compile:m-f32@b"):
        log = Path(f"/home/me/app/build/log/{cell}.log")
        error = StepError("build raised", where="/home/me/app/recipe.py:3", hint="correct it", log=log)
        failures.add(cell, Failure.of(error))
    (paragraph,) = failures
    assert paragraph.splitlines() == [
        "✗ compile:m-f32@a",
        "✗ compile:m-f32@b",
        "recipe.py:3: build raised",
        "  hint: correct it",
        "  log: build/log/compile:m-f32@a.log",
    ]


def test_different_causes_are_told_apart():
    failures = Failures("/home/me/app")
    failures.add("compile:m-f32@a", Failure("no code generator"))
    failures.add("weights:m", Failure("not there"))
    assert list(failures) == ["✗ compile:m-f32@a\nno code generator", "✗ weights:m\nnot there"]


def test_tasks_that_wait_are_counted_once_and_through_others():
    failures = Failures("/home/me/app")
    failures.add("a", Failure("broken"))
    failures.add("b", Failure("broken"))
    failures.block("c", ["a", "b"])
    failures.block("d", ["c"])
    assert "2 more tasks wait for this" in next(iter(failures))


def test_a_long_list_of_tasks_is_cut():
    failures = Failures("/home/me/app")
    for number in range(100):
        failures.add(f"t{number}", Failure("broken"))
    assert next(iter(failures)).splitlines()[-3:] == ["✗ t4", "✗ and 95 more, for the same reason", "broken"]


def test_the_headline_is_the_first_line():
    failures = Failures("/home/me")
    assert failures.add("t", Failure("  /home/me/recipe.py:3: wrong\n  hint: write it again\n")) == "recipe.py:3: wrong"


def test_a_long_headline_is_cut_and_its_message_is_not():
    failures = Failures("/home/me")
    assert failures.add("t", Failure("why " * 100)) == f"{'why ' * 49}why…"
    assert next(iter(failures)).count("why") == 100


@pytest.mark.parametrize(
    ("message", "short"),
    [
        ("/home/me/recipe.py:3: wrong", "recipe.py:3: wrong"),
        ("cannot write '/home/me/build/x'", "cannot write 'build/x'"),
        ("log: /home/me/build/log/x", "log: build/log/x"),
        ("/home/meadow/x", "/home/meadow/x"),
        ("/mnt/home/me/x", "/mnt/home/me/x"),
        ("file:///home/me/x", "file:///home/me/x"),
        ("/home/me is full", "/home/me is full"),
    ],
)
def test_paths_below_the_users_directory_are_shown_relative_to_it(message, short):
    assert shortened(message, "/home/me") == short


def test_nothing_is_shortened_at_the_root_of_the_file_system():
    assert shortened("/recipe.py:3: wrong", "/") == "/recipe.py:3: wrong"
