"""What a run shows: amounts for people, a line an event where nobody watches a board."""

from __future__ import annotations

import io

import pytest

from pipeline.engine.status import Outcome
from pipeline.reports.events import Counts, amount, size
from pipeline.reports.live import Live
from pipeline.reports.plain import Plain


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (83_500_000, "83.5 MB"), (2.5e9, "2.50 GB")]
)
def test_sizes_for_people(count, text):
    assert size(count) == text


def test_amounts_for_people():
    assert amount(33e6, 83.5e6, "bytes") == "33.0 MB of 83.5 MB"
    assert amount(33e6, None, "bytes") == "33.0 MB"
    assert amount(3, 8, "files") == "3 of 8 files"
    assert amount(1, 1, "libraries") == "1 of 1 library"


def test_plain_output_is_a_line_an_event():
    stream = io.StringIO()
    counts = Counts(total=12)
    counts.fresh = 3
    plain = Plain(stream, counts)
    plain.begin()
    plain.started("compile:m@b")
    plain.progress("compile:m@b", 1, 2, "files")  # too soon for a line
    counts.built += 1
    plain.finished(Outcome("compile:m@b", "built", 1.25))
    plain.failed("verify:b", "it is wrong\n  hint: mend it")
    assert stream.getvalue() == (
        "[ 4/12] compile:m@b: built in 1.2 s\n[ 4/12] verify:b: FAILED: it is wrong\n  hint: mend it\n"
    )


def test_a_long_download_says_how_far_it_is(monkeypatch):
    clock = iter([0.0, 1.0, 6.0, 6.0])
    monkeypatch.setattr("pipeline.reports.plain.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    plain = Plain(stream, Counts(total=1))
    plain.begin()
    plain.started("weights:m")
    plain.progress("weights:m", 1e6, 4e6, "bytes")
    plain.progress("weights:m", 2e6, 4e6, "bytes")
    assert stream.getvalue() == "[0/1] weights:m: 2.0 MB of 4.0 MB\n"


def test_the_board_leaves_lines_behind_and_shows_what_runs():
    stream = io.StringIO()
    live = Live(stream, Counts(total=2), {"compile:a": 4.0})
    live.begin()
    live.started("compile:a")
    live.progress("compile:a", 1, 2, "files")
    board = "\n".join(str(part) for part in live._draw().renderables[:1])
    live.finished(Outcome("compile:a", "built", 1.0))
    live.end()
    assert "about 4 s left" in board
    assert "compile:a" in stream.getvalue()
