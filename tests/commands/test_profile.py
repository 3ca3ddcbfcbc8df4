"""`doit profile` tells of the last run that did something."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

pytestmark = pytest.mark.tvm


def test_the_last_run_in_figures_and_as_a_chrome_trace(built):
    text = built.ok("profile", "-o", "trace.json").output
    assert "17 built" in text
    assert "critical path: " in text
    assert "of that time was used" in text
    events = built.json("trace.json")["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == 17
    for span in spans:
        assert span["dur"] >= 0
        assert span["ts"] >= 0
        assert len(span["args"]["key"]) == 64
    by_lane: dict[int, list] = {}
    for span in sorted(spans, key=lambda s: s["ts"]):
        by_lane.setdefault(span["tid"], []).append(span)
    for lane in by_lane.values():
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1 for a, b in pairwise(lane))


def test_a_run_with_nothing_to_do_does_not_count_and_a_failed_task_does(built):
    built.ok()
    assert json.loads(built.ok("profile", "--json").output)["tasks"] == {"built": 17}
    built.edit("recipe.py", "def build(spec: BuildSpec):", "def build(spec: BuildSpec):\n    raise ValueError('no')\n")
    assert built.doit("compile:tiny-f32@host").status != 0
    assert json.loads(built.ok("profile", "--json").output)["tasks"] == {"failed": 1}


def test_the_critical_path_is_a_chain_of_tasks_that_wait_for_each_other(built):
    found = json.loads(built.ok("profile", "--json").output)
    names = [step["name"] for step in found["critical_path"]]
    assert names[0] in {"toolchain:current", "weights:tiny"}
    assert found["critical_seconds"] <= found["wall_seconds"] + 0.1
    assert found["critical_seconds"] == pytest.approx(sum(step["seconds"] for step in found["critical_path"]))


def test_no_run_is_an_error_with_a_hint(project):
    run = project.doit("profile")
    assert run.status == 3
    assert "there are no timings of a run" in run.output
    assert "hint:" in run.output
