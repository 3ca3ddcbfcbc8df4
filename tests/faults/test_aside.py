"""A large tree is looked at by two processes once something has changed in it: nothing is overlooked for that."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest
from fault_graph import TRACEBACK, Graph, graph_project

from pipeline.doit_plugin.aside import Aside

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="one process where a copy is not quickly made, or has no processor",
)
COUNTING = """
import os
fork = os.fork
def counted():
    pid = fork()
    if pid:
        with open(os.environ["FORKS"], "a") as file:
            file.write("x")
    else:
        {0}
    return pid
os.fork = counted
"""


@pytest.fixture(scope="module")
def large_once(tmp_path_factory):
    graph = graph_project(tmp_path_factory.mktemp("large") / "graph", models=250, backends=10)
    graph.ok()
    graph.ran()
    return graph.root


@pytest.fixture
def large(large_once, tmp_path):
    """A graph of 2,775 tasks that was built, with one thread: who forks does it in order to look."""
    shutil.copytree(large_once, tmp_path / "graph", symlinks=True)
    graph = Graph(tmp_path / "graph")
    watch(graph)
    graph.ok("-n", "1")
    assert graph.ok("-n", "1").idle
    assert forks(graph) == 0
    return graph


def watch(graph, child="pass"):
    site = graph.root.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(COUNTING.format(child))
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    graph.env.update(PYTHONPATH=path, FORKS=str(graph.root.parent / "forks"))


def forks(graph):
    """How many there were since the last call."""
    path = graph.root.parent / "forks"
    count = len(path.read_text()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


def is_settled(graph):
    return graph.is_right() and graph.ok("-n", "1").idle and forks(graph) == 0


def test_a_changed_source(large):
    large.write("src/m0.txt", "second\n")
    run = large.ok("-n", "1")
    assert len(run.built) == 1 + 10 + 10 + 10 + 5
    assert forks(large) == 1
    assert is_settled(large)


def test_what_the_other_process_finds_counts_as_well(large):
    large.write("src/m0.txt", "second\n")
    large.path("build/out/compile-m249-b9").unlink()
    large.path("build/out/archive-b9").write_text("spoilt")
    run = large.ok("-n", "1")
    assert len(run.built) == 1 + 10 + 10 + 10 + 5
    assert run.worked["join:compile-m249-b9"] == "restored"
    assert forks(large) == 1
    assert is_settled(large)


def test_more_than_a_pipe_takes(large):
    large.write("src/m0.txt", "second\n")
    shutil.rmtree(large.path("build/out"))
    large.ok("-n", "1")
    assert forks(large) == 1
    assert is_settled(large)


def test_where_the_other_process_dies_this_one_looks(large):
    watch(large, "os.kill(os.getpid(), 9)")
    large.write("src/m0.txt", "second\n")
    large.path("build/out/compile-m249-b9").unlink()
    run = large.ok("-n", "1")
    assert run.worked["join:compile-m249-b9"] == "restored"
    assert TRACEBACK not in run.output
    assert forks(large) == 1
    assert is_settled(large)


def test_without_a_plan_everything_is_looked_at_again(large):
    large.path("build/snapshot/targets.yaml.plan").unlink()
    large.write("src/m0.txt", "second\n")
    large.path("build/out/compile-m249-b9").unlink()
    assert len(large.ok("-n", "1").built) == 1 + 10 + 10 + 10 + 5
    assert forks(large) == 1
    assert is_settled(large)


def test_small_trees_are_looked_at_by_one(built_graph):
    watch(built_graph)
    built_graph.ok("-n", "1")
    built_graph.write("src/m0.txt", "second\n")
    built_graph.ok("-n", "1")
    assert forks(built_graph) == 0


def test_what_is_found_out_comes_back():
    assert Aside(lambda: [("a", 1, b"x" * 300_000)]).result() == [("a", 1, b"x" * 300_000)]


@pytest.mark.parametrize("how", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_an_answer_that_does_not_come_is_found_here(how):
    here = os.getpid()
    assert Aside(lambda: "here" if os.getpid() == here else how()).result() == "here"
