"""Tables on terminals of any width."""

from __future__ import annotations

import pytest

from pipeline.reports.tables import lines

ROWS = [
    ("what", "size", "proven"),
    ("a-long-name-of-a-model-f32@catalyst-x86_64", "1.5 MB", "symbols, constructors, platform, link closure, numbers"),
    ("b", "10 kB", "not proven"),
]


def test_columns_are_aligned_and_nothing_is_broken_without_a_width():
    assert list(lines([("what", "n"), ("abc", "1")], rule=True)) == ["what  n", "----  -", "abc   1"]
    assert [len(line.splitlines()) for line in lines(ROWS)] == [1, 1, 1]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 129, 200])
def test_no_word_is_broken_and_no_line_is_too_long(width):
    found = list(lines(ROWS, right={1}, rule=True, width=width))
    words = " ".join(found).split()
    assert {word for row in ROWS for cell in row for word in cell.split()} - {"what", "size", "proven"} <= set(words)
    longest = len(ROWS[1][0]) + 8
    assert all(len(line) <= max(width, longest) for line in found)
    assert all(line == line.rstrip() for line in found)
