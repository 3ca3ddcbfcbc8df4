"""What comes back from another machine is believed as far as it can be checked; else the work is done here."""

from __future__ import annotations

from pathlib import Path

import pytest
import strange_pool
from fault_graph import TRACEBACK

COMPILES = {f"compile-m{m}-b{b}" for m in range(3) for b in range(4)}


@pytest.fixture
def strange(graph, nginx):
    """The graph, with a pool that needs no cluster."""
    graph.write("dodo.py", graph.path("dodo.py").read_text() + strange_pool.SET_UP)
    for m in range(3):
        graph.write(f"src/m{m}.txt", f"{m}" * 5_000)  # so that there are blobs
    graph.env |= {"PYTHONPATH": str(Path(__file__).parent), "SERVED": str(nginx.data), "LIE": ""}
    return graph


def test_any_executor_of_the_standard_library_will_do(strange):
    run = strange.ok()
    assert strange.is_right()
    assert run.output.count(" on ") == len(COMPILES)
    assert set(strange.ran().values()) == {1}
    assert strange.ok().idle


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("no result", "the remote store has no such result"),
        ("another key", "the remote store has no such result"),
        ("cut", "gets no more orders"),
        ("no text", "gets no more orders"),
        ("wrong bytes", "is not what it should be"),
        ("wrong record", "is not what it should be"),
        ("raise", "gets no more orders"),
        ("hang", "within 1 s"),
    ],
)
def test_a_machine_that_lies(strange, lie, said):
    run = strange.ok(env={"LIE": lie})
    assert said in run.output
    assert TRACEBACK not in run.output
    assert strange.is_right()
    assert set(strange.ran()) >= COMPILES
    assert strange.ok(env={"LIE": lie}).idle


def test_what_a_machine_says_is_printed_as_text_and_nothing_else(strange):
    run = strange.doit(env={"LIE": "a failure of ours"})
    assert run.status != 0
    assert "\\x1b[31mno" in run.output
    assert "\x1b" not in run.output


def test_what_a_step_needs_and_this_machine_lacks_is_not_ordered(strange):
    strange.edit("dodo.py", "        travels=", '        tools=("no-such-tool",),\n        travels=')
    assert " on " not in strange.ok().output
    assert strange.is_right()
