"""kill -9 in the middle of writing each file that a run keeps for the next one: nothing lost, nothing believed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Graph, recorded

KILLED = -9


@pytest.fixture
def sabotaged(graph: Graph) -> Graph:
    shutil.copy(Path(__file__).with_name("saboteur.py"), graph.root)
    dodo = graph.path("dodo.py")
    dodo.write_text(f"import saboteur\nsaboteur.arm()\n{dodo.read_text()}")
    return graph


@pytest.mark.parametrize(
    "where",
    [
        "build/ledger:0", "build/ledger:11", "build/store/records:0", "build/store/records:11",
        "build/digests:0", "build/digests:rename", "build/store/blobs:0", "build/store/blobs:rename",
        "build/snapshot/targets.yaml.plan:0", "build/snapshot/targets.yaml.plan:rename",
        "build/snapshot/targets.yaml:0", "build/snapshot/targets.yaml:rename",
    ],
)  # fmt: skip
def test_in_the_first_build(sabotaged, where):
    for m in range(3):
        sabotaged.write(f"src/m{m}.txt", f"{m}" * 70_000)  # so that there are blobs, and a memo of them
    slow = {"EACH_TAKES": "0.002"} if where.endswith(":11") else {}  # quick ones would be written together
    assert sabotaged.doit(env={"SABOTAGE": where, **slow}).status == KILLED
    kept = recorded(sabotaged.path("build/store"))
    sabotaged.ran()
    again = sabotaged.ok()
    assert TRACEBACK not in again.output
    assert not {f"join:{name}" for name in sabotaged.ran()} & kept
    assert sabotaged.is_right()
    assert sabotaged.ok().idle


@pytest.mark.parametrize("where", ["build/ledger:0", "build/digests:0", "build/snapshot/targets.yaml:0"])
def test_in_a_later_one(sabotaged, where):
    sabotaged.ok()
    sabotaged.write("src/m1.txt", "second\n")
    assert sabotaged.doit(env={"SABOTAGE": where}).status == KILLED
    again = sabotaged.ok()
    assert TRACEBACK not in again.output
    assert sabotaged.is_right()
    assert sabotaged.ok().idle


def test_a_run_with_nothing_to_do_writes_nothing(sabotaged):
    """A run that only looked writes nothing that could be lost."""
    sabotaged.ok()
    files = {path: path.stat().st_mtime_ns for path in sabotaged.path("build").rglob("*") if path.is_file()}
    assert sabotaged.doit(env={"SABOTAGE": "build/:0"}).status == 0
    assert files == {path: path.stat().st_mtime_ns for path in sabotaged.path("build").rglob("*") if path.is_file()}
