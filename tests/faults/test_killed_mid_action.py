"""kill -9 of everything while an action runs and half of its output is written; then `doit` must be right."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from fault_graph import TRACEBACK, Background, recorded

HELD = "compile-m1-b0"


def kill_in(graph, subject, how=signal.SIGKILL):
    """Start a doit, and end it while this action runs."""
    graph.hold(subject)
    run = Background(graph)
    run.until(lambda: graph.is_held(subject))
    run.kill(how)
    graph.release(subject)
    shutil.rmtree(graph.path("held"))


def test_during_the_first_build(graph):
    kill_in(graph, HELD)
    assert HELD not in graph.outputs(), "half an output lies where a whole one belongs"
    graph.ok()
    assert graph.is_right()
    assert graph.ok().idle


def test_after_an_input_changed(built_graph):
    built_graph.write("src/m1.txt", "second\n")
    kill_in(built_graph, HELD)
    built_graph.ok()
    assert built_graph.is_right()
    assert "second" in built_graph.outputs()[HELD]
    assert built_graph.ok().idle


@pytest.mark.parametrize("is_in_store", [True, False])
def test_after_a_target_was_deleted(built_graph, is_in_store):
    built_graph.path(f"build/out/{HELD}").unlink()
    if is_in_store:  # then it is not built at all; something else is, for a moment to kill in
        built_graph.write("src/m0.txt", "second\n")
        kill_in(built_graph, "archive-b0")
    else:
        shutil.rmtree(built_graph.path("build/store"))
        kill_in(built_graph, HELD)
    built_graph.ok()
    assert built_graph.is_right()
    assert built_graph.ok().idle


@pytest.mark.parametrize("held", [HELD, "archive-b0"])
def test_input_changed_and_put_back_after_the_kill(built_graph, held):
    """What doit and SCons then call up to date is what the killed run has left."""
    before = built_graph.path("src/m1.txt").read_text()
    built_graph.write("src/m1.txt", "second\n")
    kill_in(built_graph, held)
    built_graph.write("src/m1.txt", before)
    built_graph.ran()
    built_graph.ok()
    assert built_graph.is_right()
    assert not built_graph.ran(), "the first version was in the store"
    assert built_graph.ok().idle


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_finished_work_is_not_done_again(graph, how):
    graph.resize(3, 10)
    run = Background(graph, EACH_TAKES="0.01")
    run.until(lambda: run.output().count(": built in") >= 20)
    run.kill(how)
    kept = recorded(graph.path("build/store"))
    assert 20 <= len(kept) < 50, "the kill came too late"
    assert TRACEBACK not in run.output()
    begun = graph.ran()
    assert len(begun) - len(kept) <= os.cpu_count(), "work that was finished was not kept"
    again = graph.ok()
    assert not again.built & kept
    assert not {f"join:{name}" for name in graph.ran()} & kept
    assert graph.is_right()


def test_nothing_of_a_killed_run_stays_in_scratch(graph):
    kill_in(graph, HELD)
    assert list(graph.path("build/scratch").rglob(HELD))
    graph.ok()
    assert not list(graph.path("build/scratch").rglob(HELD))
