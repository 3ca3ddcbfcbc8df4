"""Actions that are done in more processes than one: as right as in one, and one that dies takes nothing with it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fault_graph import TRACEBACK, Background, Graph, children, is_alive, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one process")
HELD = ("compile-m0-b0", "compile-m0-b1", "compile-m0-b2", "compile-m0-b3")


@contextmanager
def busy(graph: Graph, *words: str, processes: int) -> Iterator[Background]:
    """A doit of which so many processes are each in the middle of an action, until this is left."""
    for name in HELD:
        graph.hold(name)
    run = Background(graph, *words)
    run.until(lambda: sum(map(graph.is_held, HELD)) == processes)
    yield run
    for name in HELD:
        graph.release(name)


def test_one_more_process_does_part_of_the_work(graph):
    with busy(graph, "-n", "2", processes=2) as run:
        assert len(children(run.pid)) == 1
    assert run.wait() == 0, run.output()
    assert graph.is_right()
    assert set(graph.ran().values()) == {1}
    assert graph.ok().idle


def test_several_more_processes(graph):
    graph.resize(3, 8)
    with busy(graph, "-n", "4", processes=4) as run:
        assert len(children(run.pid)) == 3
    assert run.wait(30) == 0, run.output()
    assert graph.is_right()
    assert graph.ok("-n", "4").idle


def test_with_one_thread_there_is_one_process(graph):
    graph.hold(HELD[0])
    run = Background(graph, "-n", "1")
    run.until(lambda: graph.is_held(HELD[0]))
    assert children(run.pid) == []
    graph.release(HELD[0])
    assert run.wait() == 0


def test_with_a_remote_store_there_is_one_process(graph):
    graph.hold(HELD[0])
    run = Background(graph, "-n", "2", SLIPWAY_REMOTE="http://127.0.0.1:9")
    run.until(lambda: graph.is_held(HELD[0]))
    assert children(run.pid) == []
    graph.release(HELD[0])
    assert run.wait() == 0


def test_one_that_is_killed_fails_its_action_and_no_other(graph):
    with busy(graph, "-n", "2", "-c", processes=2) as run:
        os.kill(children(run.pid)[0], signal.SIGKILL)
        run.until(lambda: "FAILED" in run.output())
    assert run.wait() != 0
    assert "died (SIGKILL)" in run.output()
    assert "run doit again" in run.output()
    assert TRACEBACK not in run.output()
    graph.ran()
    again = graph.ok()
    assert graph.is_right()
    assert 0 < len(again.built) < 25, "what the others did is kept"
    assert graph.ok().idle


def test_the_first_process_killed_alone_leaves_a_tree_that_is_right(graph):
    with busy(graph, "-n", "2", processes=2) as run:
        hands = children(run.pid)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        until(lambda: not any(map(is_alive, hands)), 5)
    graph.ok()
    assert graph.is_right()
    assert graph.ok().idle


def test_a_failure_is_told_as_from_here(graph):
    """The same words, whichever process it happens in."""
    broken = graph.path("held_steps/join.py")
    source = broken.read_text()
    broken.write_text(
        source.replace("    join.run(job)\n", '    raise StepError("no " + subject, hint="none")\n').replace(
            "import Job\n", "import Job\nfrom pipeline.errors import StepError\n"
        )
    )
    several, one = graph.doit("-c", "-n", "2"), graph.doit("-c", "-n", "1")
    assert several.status != 0

    def told(run):
        return sorted(line for line in run.output.splitlines() if "FAILED" not in line and "tasks:" not in line)

    assert "no weights-m0" in several.output
    assert told(several) == told(one)


def test_a_bug_of_a_step_is_told_and_its_traceback_is_in_the_log(graph):
    broken = graph.path("held_steps/join.py")
    broken.write_text(broken.read_text().replace("    join.run(job)\n", "    {}[subject]\n"))
    run = graph.doit("-c", "-n", "2")
    assert run.status != 0
    assert "KeyError" in run.output
    logs = "".join(path.read_text() for path in graph.path("build/log").iterdir())
    assert TRACEBACK in logs + run.output


def test_a_note_from_before_is_told_once(graph):
    """A copy of the process has the notes of the first one in memory, too."""
    graph.ok()
    workspace = graph.path("build/ledger-targets.yaml")
    lines = workspace.read_bytes().splitlines(keepends=True)
    workspace.write_bytes(b"".join([lines[0].replace(b"weights", b"weighty"), *lines[1:]]))
    graph.write("src/m0.txt", "second\n")
    run = graph.ok("-n", "2")
    assert run.output.count("damaged") == 1
