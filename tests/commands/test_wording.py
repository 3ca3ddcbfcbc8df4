"""Sizes, ages and durations as the commands read and print them."""

from __future__ import annotations

import pytest

from pipeline.commands.wording import count, duration, read_age, read_size, shown
from pipeline.errors import SlipwayError


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("500M", 500_000_000), ("1.5G", 1_500_000_000), ("10 GB", 10**10), ("2k", 2000)]
)
def test_sizes(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize(("text", "age"), [("30d", 30 * 86_400), ("12h", 43_200), ("2w", 14 * 86_400), ("0s", 0)])
def test_ages(text, age):
    assert read_age(text) == age


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1e3", "ten", f"{'9' * 400}G", f"{'9' * 400}d"])
def test_what_is_neither_is_refused(text):
    for read in (read_size, read_age):
        with pytest.raises(SlipwayError) as caught:
            read(text)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (34.4, "34 s"), (725, "12 min 5 s"), (12_000, "3 h 20 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_values_fit_on_a_line():
    assert shown(None) == "nothing"
    assert shown("a" * 64) == "aaaaaaaaaaaa…"
    assert shown("14.0") == '"14.0"'
    long = shown({"text": "x" * 500})
    assert len(long) <= 60
    assert " … " in long


def test_counts():
    assert count(1, "task") == "1 task"
    assert count(0, "task") == "0 tasks"
