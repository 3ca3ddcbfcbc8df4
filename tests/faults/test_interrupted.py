"""Ctrl-C, and what a doit that was killed leaves behind: no process, no traceback, no litter, no closed door."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Background, children, is_alive, recorded, until
from projects import Project

from pipeline.files import temporary_in
from pipeline.files.locks import own_folder


@pytest.fixture
def compiling(built: Project, tmp_path: Path):
    """A doit that is compiling, and will not end: (project, the doit, the processes of its workers)."""
    started = tmp_path / "started"
    held = f'    Path("{started}").touch()\n    __import__("time").sleep(600)\n'
    built.edit("recipe.py", "def build(spec: BuildSpec):\n", f"def build(spec: BuildSpec):\n{held}")
    run = Background(built)
    run.until(started.exists)
    built.edit("recipe.py", held, "    assert spec\n")  # the next doit compiles anew, and to the end
    return built, run, workers_of(run.pid)


def workers_of(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found = children(pid)
    return found + [grandchild for child in found for grandchild in workers_of(child)]


@pytest.mark.tvm
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_doit(compiling, how):
    project, run, workers = compiling
    assert workers
    os.kill(run.pid, how)  # on its own: the workers have a group of their own anyway
    before = time.monotonic()
    assert run.wait(10) == -how
    until(lambda: not any(map(is_alive, workers)), 5)
    assert time.monotonic() - before < 5
    assert TRACEBACK not in run.output()
    assert project.ok().built
    assert project.ok().idle


def test_ctrl_c_ends_at_once_keeps_what_is_finished_and_says_so(graph):
    graph.resize(3, 10)
    graph.hold("compile-m1-b2")
    run = Background(graph)
    run.until(lambda: graph.is_held("compile-m1-b2"))
    before = time.monotonic()
    assert run.kill(signal.SIGINT) == -signal.SIGINT
    assert time.monotonic() - before < 2
    assert TRACEBACK not in run.output()
    assert "interrupted; what is finished is kept" in run.output()
    graph.release("compile-m1-b2")
    kept = recorded(graph.path("build/store"))
    assert kept
    assert not graph.ok(env={"SLIPWAY_WAIT": "0"}).built & kept
    assert graph.is_right()


def test_ctrl_c_while_another_doit_is_waited_for(graph):
    graph.hold("compile-m1-b2")
    first = Background(graph)
    first.until(lambda: graph.is_held("compile-m1-b2"))
    second = Background(graph)
    second.until(lambda: "is building here; waiting" in second.output())
    assert second.kill(signal.SIGINT) == -signal.SIGINT
    assert TRACEBACK not in second.output()
    graph.release("compile-m1-b2")
    assert first.wait() == 0
    assert graph.is_right()
    assert graph.ok().idle


INTERRUPTS_ITSELF = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["doit"]
from doit.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["pipeline", "pipeline.commands.run", "pipeline.files", "pipeline.commands.friendly", "pipeline.engine.engine"],
)
def test_ctrl_c_while_slipway_is_being_imported(graph, module):
    script = INTERRUPTS_ITSELF.format(module)
    run = subprocess.run([sys.executable, "-c", script], cwd=graph.root, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGINT, run.stderr
    assert TRACEBACK not in run.stderr
    assert run.stderr.startswith("interrupted")


def test_a_second_ctrl_c_does_no_harm(graph):
    graph.hold("compile-m1-b2")
    run = Background(graph)
    run.until(lambda: graph.is_held("compile-m1-b2"))
    for _ in range(3):
        try:
            os.killpg(run.pid, signal.SIGINT)
        except ProcessLookupError:
            break
    assert run.wait(10) == -signal.SIGINT
    assert TRACEBACK not in run.output()
    graph.release("compile-m1-b2")
    graph.ok()
    assert graph.is_right()


def test_temporary_files_of_killed_processes_are_removed(built_graph):
    folders = "build", "build/stamp", "build/store", "build/store/v2", "build/store/v2/part"
    temporary = [built_graph.write(temporary_in(folder), "half") for folder in folders]
    others = [built_graph.write(f"{folder}/notes", "mine") for folder in folders]
    built_graph.write("src/m0.txt", "second\n")
    built_graph.ok()
    assert not [path for path in temporary if path.exists()]
    assert all(path.exists() for path in others)


def test_what_steps_and_their_programs_put_into_the_temporary_directory_goes(graph, tmp_path):
    shared = tmp_path / "tmp"
    shared.mkdir()
    graph.edit("held_steps/join.py", "    join.run(job)\n", """    import tempfile
    from pipeline import process
    tempfile.mkdtemp()
    process.run(["mktemp", "-d"])
    join.run(job)
""")  # fmt: skip
    graph.hold("compile-m1-b0.done")
    run = Background(graph, TMPDIR=str(shared))
    run.until(lambda: graph.is_held("compile-m1-b0.done"))
    run.kill()
    assert not list(shared.iterdir())
    graph.release("compile-m1-b0.done")
    graph.ok(env={"TMPDIR": str(shared)})
    assert not list(shared.iterdir())
    assert not graph.path("build/scratch").exists()


HOLDS = """
import sys, time
from pathlib import Path
from pipeline.files.locks import own_folder
with own_folder(Path(sys.argv[1]), "mine-") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path):
    other = tmp_path / "another"
    other.mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        left = Path(process.stdout.readline().rstrip())
        with own_folder(tmp_path, "mine-") as folder:
            assert set(tmp_path.iterdir()) == {other, left, folder}, "who lives keeps his"
        process.kill()
    assert set(tmp_path.iterdir()) == {other, left}
    with own_folder(tmp_path, "mine-") as folder:
        assert set(tmp_path.iterdir()) == {other, folder}
    assert set(tmp_path.iterdir()) == {other}
