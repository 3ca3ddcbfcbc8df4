"""kill -9 in the middle of writing each file that a run keeps for the next one: nothing lost, nothing believed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Graph, recorded

from pipeline.files import TEMPORARY

KILLED = -9
MEMORY = Path("/dev/shm")


@pytest.fixture
def sabotaged(graph: Graph) -> Graph:
    shutil.copy(Path(__file__).with_name("saboteur.py"), graph.root)
    dodo = graph.path("dodo.py")
    dodo.write_text(f"import saboteur\nsaboteur.arm()\n{dodo.read_text()}")
    return graph


@pytest.mark.parametrize(
    "where",
    [
        "v2/ac/:0", "v2/ac/:11", "v2/ac/:rename", "v2/cas/:0", "v2/cas/:5", "v2/cas/:rename", "v2/stat-cache:0",
        "build/stat-cache:0", "build/stat-cache:rename", "build/stamp/:0", "build/stamp/:rename", "build/out/:0",
        "build/out/:11", "build/out/:rename",
    ],
)  # fmt: skip
def test_in_the_first_build(sabotaged, where):
    for m in range(3):
        sabotaged.write(f"src/m{m}.txt", f"{m}" * 70_000)  # so that there are blobs, and a stat cache of them
    assert sabotaged.doit(env={"SABOTAGE": where}).status == KILLED
    kept = recorded(sabotaged.path("build/store"))
    sabotaged.ran()
    again = sabotaged.ok()
    assert TRACEBACK not in again.output
    assert not {f"join:{name}" for name in sabotaged.ran()} & kept
    assert sabotaged.is_right()
    assert again.idle or not list(sabotaged.root.rglob(f"*{TEMPORARY}"))
    assert sabotaged.ok().idle


@pytest.mark.skipif(not MEMORY.is_dir(), reason="there is no second file system")
@pytest.mark.parametrize("where", ["build/out/:3", "build/out/:rename", "v2/cas/:5"])
def test_with_the_store_on_another_file_system(sabotaged, where):
    sabotaged.write("src/m0.txt", "0" * 2_000_000)
    with tempfile.TemporaryDirectory(dir=MEMORY) as elsewhere:
        env = {"SLIPWAY_STORE": elsewhere}
        assert sabotaged.doit(env={"SABOTAGE": where, **env}).status == KILLED
        sabotaged.ok(env=env)
        assert sabotaged.is_right()
        left = [path for root in (sabotaged.root, Path(elsewhere)) for path in root.rglob(f"*{TEMPORARY}")]
        assert not left, "nothing that killed processes have written stays"


@pytest.mark.parametrize("where", ["build/out/:1", "build/stat-cache:0", "build/stamp/:0"])
def test_in_a_later_one(sabotaged, where):
    sabotaged.ok()
    sabotaged.write("src/m1.txt", "second\n")
    assert sabotaged.doit(env={"SABOTAGE": where}).status == KILLED
    again = sabotaged.ok()
    assert TRACEBACK not in again.output
    assert sabotaged.is_right()
    assert sabotaged.ok().idle


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_the_log_of_the_workspace_ends_anywhere(sabotaged, share):
    """SQLite writes it with system calls of its own: what a kill in the middle of one leaves is a shorter log."""
    assert sabotaged.doit(env={"SABOTAGE": "v2/ac/:20"}).status == KILLED
    kept = recorded(sabotaged.path("build/store"))
    log = sabotaged.path("build/workspace-targets.yaml-wal")
    os.truncate(log, int(log.stat().st_size * share))
    again = sabotaged.ok()
    assert TRACEBACK not in again.output
    assert not again.built & kept
    assert sabotaged.is_right()
    assert sabotaged.ok().idle


def test_a_run_with_nothing_to_do_writes_nothing(sabotaged):
    """A run that only looked writes nothing that could be lost."""
    sabotaged.ok()
    files = {path: path.stat().st_mtime_ns for path in sabotaged.path("build").rglob("*") if path.is_file()}
    assert sabotaged.doit(env={"SABOTAGE": "build/:0"}).status == 0
    assert files == {path: path.stat().st_mtime_ns for path in sabotaged.path("build").rglob("*") if path.is_file()}
