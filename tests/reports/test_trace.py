"""Timings of a run: kept, laid side by side, and the longest chain among them."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.trace import PLACE, Span, Trace, critical_path, lanes, load

TIMES = st.tuples(st.integers(0, 50), st.integers(0, 20))


def spans(times: list[tuple[int, int]]) -> list[Span]:
    return [Span(f"t{i}", "built", float(start), float(start + length)) for i, (start, length) in enumerate(times)]


def test_what_was_noted_is_read_back(tmp_path):
    (tmp_path / "build").mkdir()
    trace = Trace()
    trace.started("a")
    trace.started("b")
    trace.ended("a", "built", 0.0)
    trace.ended("b", "failed")
    trace.save(tmp_path)
    found = load(tmp_path)
    assert found is not None
    assert [(span.name, span.how) for span in found.spans] == [("a", "built"), ("b", "failed")]
    assert found.spans[0].seconds == 0
    assert found.start <= found.spans[0].start <= found.end


def test_what_another_machine_did_counts_without_the_wait_for_it(tmp_path):
    (tmp_path / "build").mkdir()
    trace = Trace()
    trace.started("a")
    time.sleep(0.05)
    trace.ended("a", "built", 0.01, "mac-1")
    trace.save(tmp_path)
    (span,) = load(tmp_path).spans
    assert span.host == "mac-1"
    assert span.seconds == pytest.approx(0.01, abs=0.001)


def test_a_run_without_work_leaves_the_timings_of_the_one_before(tmp_path):
    (tmp_path / "build").mkdir()
    (tmp_path / PLACE).write_text("kept")
    Trace().save(tmp_path)
    assert (tmp_path / PLACE).read_text() == "kept"


def test_a_damaged_file_counts_as_none(tmp_path):
    (tmp_path / "build").mkdir()
    assert load(tmp_path) is None
    for text in ("", "{}", "[]", '{"format": 1, "start": 0, "end": 1, "spans": [{}]}', '{"format": 99}'):
        (tmp_path / PLACE).write_text(text)
        assert load(tmp_path) is None


@given(st.lists(TIMES, max_size=12))
def test_lanes_hold_all_spans_without_overlap_and_are_as_few_as_ran_at_a_time(times):
    given_spans = spans(times)
    found = lanes(given_spans)
    assert {span.name: span for lane in found for span in lane} == {span.name: span for span in given_spans}
    assert sum(map(len, found)) == len(given_spans)
    for lane in found:
        assert all(a.end <= b.start for a, b in pairwise(lane))
    real = [span for span in given_spans if span.seconds]
    at_a_time = max((sum(s.start <= span.start < s.end for s in real) for span in real), default=0)
    if len(real) == len(given_spans):
        assert len(found) == at_a_time


@given(st.data())
def test_the_critical_path_is_the_longest_chain(data):
    given_spans = spans(data.draw(st.lists(TIMES, min_size=1, max_size=7)))
    names = [span.name for span in given_spans]
    upstream = {
        name: data.draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else [] for i, name in enumerate(names)
    }
    length = {span.name: span.seconds for span in given_spans}

    def longest(name: str) -> float:
        return length[name] + max(map(longest, upstream[name]), default=0.0)

    path = critical_path(given_spans, upstream)
    assert sum(span.seconds for span in path) == max(map(longest, names))
    for before, after in pairwise(path):
        assert before.name in upstream[after.name]


def test_tasks_that_did_not_run_pass_a_chain_on():
    first, last = spans([(0, 3), (3, 4)])
    assert critical_path([first, last], {"t1": ["fresh"], "fresh": ["t0"], "t0": []}) == [first, last]


def test_a_deep_chain_is_no_trouble():
    many = spans([(i, 1) for i in range(5000)])
    assert len(critical_path(many, {f"t{i}": [f"t{i - 1}"] for i in range(1, 5000)})) == 5000
