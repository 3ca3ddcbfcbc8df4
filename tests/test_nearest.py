"""What is said to have been meant, and how many there are."""

from __future__ import annotations

import pytest

from pipeline.nearest import listed, nearest

TASKS = [
    "compile:a-f32@host",
    "compile:a-f32@iphone-14",
    "compile:a-f32@android",
    "compile:b-f32@ios-arm64",
    "archive:host",
]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("compile:a-f32@ios", "compile:a-f32@iphone-14"),  # of that model, though another has ios-arm64
        ("compile:a-f32@hots", "compile:a-f32@host"),
        ("compile:a-f32@andriod", "compile:a-f32@android"),
        ("compile:b-f32@ios", "compile:b-f32@ios-arm64"),
        ("compile:a-f23@host", "compile:a-f32@host"),
        ("archiv:host", "archive:host"),
        ("compile:a-f32@zzz", None),
        ("compile:a-f32@", None),
        ("zzz", None),
    ],
)
def test_the_name_that_was_meant(word, meant):
    assert nearest(word, TASKS) == meant


def test_long_lists_are_cut():
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "b"], 2) == "a, b"
