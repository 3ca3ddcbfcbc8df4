"""Two doits at one time: in one tree the second waits or stops and says so; nothing is lost, nothing built twice."""

from __future__ import annotations

import shutil
import signal
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fault_graph import TRACEBACK, Background, Graph, recorded
from projects import Project

WAITING = "is building here; waiting"


def once(graph: Graph) -> bool:
    """Whether every action of the graph has run, and once."""
    ran = graph.ran()
    return len(ran) == len(graph.expected()) and set(ran.values()) == {1}


@pytest.mark.parametrize("trial", range(3))
def test_the_same_graph(graph, trial):
    both = [Background(graph, EACH_TAKES="0.01") for _ in range(2)]
    assert [run.wait() for run in both] == [0, 0], [run.output() for run in both]
    assert sorted("all fresh: nothing to do" in run.output() for run in both) == [False, True]
    assert once(graph)
    assert graph.is_right()
    assert graph.ok().idle


@pytest.mark.parametrize("trial", range(3))
def test_disjoint_halves(graph, trial):
    both = [Background(graph, f"join:flags-b{b}", EACH_TAKES="0.01") for b in range(2)]
    assert [run.wait() for run in both] == [0, 0], [run.output() for run in both]
    ran = graph.ran()
    assert set(ran.values()) == {1}, "something was built twice"
    third = graph.ok("join:flags-b0", "join:flags-b1")
    assert third.idle, "something was lost"
    rest = graph.ok().built
    assert not rest & {f"join:{name}" for name in ran}
    assert graph.is_right()


def test_who_is_not_to_wait_stops_and_says_for_whom(graph):
    graph.hold("compile-m0-b0")
    first = Background(graph)
    first.until(lambda: graph.is_held("compile-m0-b0"))
    second = graph.doit(env={"SLIPWAY_WAIT": "0"})
    assert second.status != 0
    assert f"another doit (pid {first.pid}" in second.output
    assert "SLIPWAY_WAIT=0" in second.output
    assert TRACEBACK not in second.output
    graph.release("compile-m0-b0")
    assert first.wait() == 0
    assert once(graph)
    assert graph.ok().idle


def test_who_waits_goes_on_when_the_first_is_killed(graph):
    graph.hold("compile-m0-b0")
    first = Background(graph)
    first.until(lambda: graph.is_held("compile-m0-b0"))
    second = Background(graph)
    second.until(lambda: WAITING in second.output())
    kept = recorded(graph.path("build/store"))
    assert f"another doit (pid {first.pid}, started " in second.output()
    first.kill()
    graph.release("compile-m0-b0")
    assert second.wait() == 0, second.output()
    assert graph.is_right()
    ran = graph.ran()
    assert kept
    assert {ran[name.partition(":")[2]] for name in kept} == {1}


def test_the_lock_of_a_dead_owner_holds_nobody_up(graph):
    graph.hold("compile-m0-b0")
    first = Background(graph)
    first.until(lambda: graph.is_held("compile-m0-b0"))
    first.kill(signal.SIGKILL)
    graph.release("compile-m0-b0")
    assert graph.path("build/lock.owner").exists(), "it had no time to clear its note away"
    run = graph.ok(env={"SLIPWAY_WAIT": "0"})
    assert "another doit" not in run.output
    assert graph.is_right()


def test_a_doit_with_nothing_to_do_beside_one_that_builds(built_graph):
    """The short way out looks at the tree while another changes it: it must not call half of a build fresh."""
    built_graph.write("src/m0.txt", "second\n")
    built_graph.hold("compile-m0-b0")
    first = Background(built_graph)
    first.until(lambda: built_graph.is_held("compile-m0-b0"))
    assert "all fresh" not in built_graph.doit(env={"SLIPWAY_WAIT": "0"}).output
    built_graph.release("compile-m0-b0")
    assert first.wait() == 0
    assert built_graph.is_right()


def test_two_trees_with_one_store(graph, tmp_path):
    shutil.copytree(graph.root, tmp_path / "other" / "graph")
    other = Graph(tmp_path / "other" / "graph")
    store = {"SLIPWAY_STORE": str(tmp_path / "store")}
    both = [Background(one, EACH_TAKES="0.01", **store) for one in (graph, other)]
    assert [run.wait() for run in both] == [0, 0], [run.output() for run in both]
    for one in (graph, other):
        assert one.is_right()
        assert one.ok(env=store).idle
    assert len(recorded(tmp_path / "store")) == len(graph.expected())


@pytest.fixture
def slow_web(project: Project):
    """The tiny model's weights on a web server that sends nothing until it is told to: (its address, the event)."""
    go = threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            go.wait(60)
            super().do_GET()

        def log_message(self, *words):
            pass

    web = project.path("web")
    web.mkdir()
    project.path("weights").rename(web / "tiny")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=web))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/tiny/", go
    go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.tvm
def test_weights_that_the_first_pins(project: Project, slow_web):
    """What the second has planned before that is not what it must do after it."""
    url, go = slow_web
    names = "config.json, tokenizer.json, weight.txt"
    project.edit("targets.yaml", "{path: weights}", f'{{url: "{url}", files: [{names}]}}')
    first = Background(project, "params:tiny-f32")
    first.until(lambda: project.path("build/lock.owner").exists())
    second = Background(project, "params:tiny-f32")
    second.until(lambda: WAITING in second.output())
    go.set()
    assert [run.wait(300) for run in (first, second)] == [0, 0], [first.output(), second.output()]
    assert "weights:tiny: built" in first.output()
    assert project.path("slipway.lock").exists()
    assert " built in" not in second.output()
    assert project.ok("params:tiny-f32").idle
