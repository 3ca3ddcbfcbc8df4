"""Another machine with a copied or a remote store: it builds nothing, and gets the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Graph, graph_project
from nginx_server import Nginx
from projects import Project, clone

from pipeline.store.store import Store


def keys(project: Project) -> dict[str, str]:
    """Action -> key, of all that the store of a project has and that does not read how long a model took."""
    opened = Store(project.path("build/store"), read_only=True)
    try:
        return {record.name: record.key for record in opened.records.all() if record.name != "verify:host"}
    finally:
        opened.close()


@pytest.fixture
def nginx(tmp_path):
    server = Nginx(tmp_path / "nginx")
    server.start()
    yield server
    server.stop()


@pytest.mark.tvm
def test_keys_and_bytes_do_not_depend_on_where_the_checkout_is(built: Project, tmp_path):
    other = clone(built, tmp_path / "elsewhere" / "quite far" / "away")
    other.env = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "LANG": "C"}
    Path(tmp_path / "home").mkdir()
    assert len(other.ok().built) == 17
    assert keys(other) == keys(built)
    assert other.products() == built.products()


@pytest.mark.tvm
def test_a_copied_store(built: Project, tmp_path):
    other = clone(built, tmp_path / "elsewhere" / "project")
    shutil.copytree(built.path("build/store"), tmp_path / "copy")
    other.env = {"SLIPWAY_STORE": str(tmp_path / "copy")}
    run = other.ok()
    assert not run.built
    assert len(run.worked) == 17
    assert other.products() == built.products()
    assert other.ok().idle


@pytest.mark.tvm
def test_a_remote_store(built: Project, tmp_path, nginx):
    ci = clone(built, tmp_path / "ci" / "project")
    ci.ok(env={"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1"})
    other = clone(built, tmp_path / "elsewhere" / "project")
    run = other.ok(env={"SLIPWAY_REMOTE": nginx.url})
    assert set(run.worked.values()) == {"fetched"}
    assert len(run.worked) == 17
    assert other.products() == built.products()
    assert other.ok(env={"SLIPWAY_REMOTE": nginx.url}).idle
    nginx.stop()
    assert other.ok(env={"SLIPWAY_REMOTE": nginx.url}).idle


@pytest.mark.tvm
def test_the_plan_tells_what_will_stay_in_the_remote_store(built: Project, tmp_path, nginx):
    first, second = (clone(built, tmp_path / name / "project") for name in ("first", "second"))
    for machine in (first, second):
        machine.env = {"SLIPWAY_REMOTE": nginx.url}
        machine.write("weights/large.txt", "large" * 2000)
    first.ok("bundle", env={"SLIPWAY_REMOTE_WRITE": "1"})
    listed = second.ok("plan", "bundle").output.splitlines()
    run = second.ok("bundle")
    stayed = {name for name, how in run.worked.items() if how == "stays"}
    assert {line.split()[1] for line in listed if "stay in the remote store" in line} == stayed == {"weights:tiny"}


def test_the_graph_from_a_remote_store(graph, tmp_path, nginx):
    graph.ok(env={"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1"})
    other = graph_project(tmp_path / "elsewhere" / "graph")
    run = other.ok(env={"SLIPWAY_REMOTE": nginx.url})
    assert set(run.worked.values()) == {"fetched"}
    assert not other.ran()
    assert other.is_right()
    asked = [path for method, path in nginx.requests() if method == "GET"]
    records = {path.name for path in (nginx.data / "ac").rglob("*") if path.is_file()}
    assert {path for path in asked if asked.count(path) > 2} == set()  # once by each machine
    assert records <= {path.rpartition("/")[2] for path in asked}


def intermediate_graph(root: Path) -> Graph:
    """The graph with weights that are large, and that nobody but its own actions reads."""
    graph = graph_project(root)
    dodo, made = graph.path("dodo.py").read_text(), 'join(f"weights-{m}", files={"source": f"src/{m}.txt"})'
    assert made in dodo
    dodo = dodo.replace(made, f"replace({made}, outputs=(), intermediate=True)")
    graph.write("dodo.py", dodo.replace("import json\n", "import json\nfrom dataclasses import replace\n"))
    for m in range(3):
        graph.write(f"src/m{m}.txt", f"{m}" * 5_000)
    return graph


@pytest.fixture
def spared(tmp_path, nginx) -> Graph:
    """A second machine whose weights stayed in the remote store."""
    first = intermediate_graph(tmp_path / "first" / "graph")
    first.ok(env={"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1"})
    graph = intermediate_graph(tmp_path / "second" / "graph")
    graph.env = {"SLIPWAY_REMOTE": nginx.url}
    run = graph.ok()
    weights = {f"join:weights-m{m}" for m in range(3)}
    assert {name for name, how in run.worked.items() if how == "stays"} == weights
    assert {how for name, how in run.worked.items() if name not in weights} == {"fetched"}
    assert not weights_of(graph)
    assert shipped(graph) == shipped(graph, graph.expected())
    assert graph.ok().idle
    assert not graph.ran()
    assert "B, in the remote store, until something" in graph.ok("explain", "join:weights-m0").output
    assert "outputs  in the remote store" in graph.ok("explain", "join:weights-m0", env={"SLIPWAY_REMOTE": ""}).output
    return graph


def shipped(graph: Graph, outputs: dict[str, str] | None = None) -> dict[str, str]:
    return {name: text for name, text in (outputs or graph.outputs()).items() if "weights" not in name}


def weights_of(graph: Graph) -> set[str]:
    return {name for name in graph.outputs() if "weights" in name}


def test_what_only_restored_tasks_would_read_is_not_fetched_until_one_must_run(spared):
    spared.resize(3, 5)
    run = spared.ok()
    assert run.built == {f"join:compile-m{m}-b4" for m in range(3)} | {"join:archive-b4", "join:flags-b4"}
    assert shipped(spared) == shipped(spared, spared.expected())
    assert not any("weights" in name for name in spared.ran())
    assert not weights_of(spared)
    assert spared.ok().idle


def test_what_is_asked_for_by_name_is_fetched(spared):
    assert spared.ok("join:weights-m1").worked == {"join:weights-m1": "fetched"}
    assert weights_of(spared) == {"weights-m1"}
    assert spared.ok().idle
    spared.ok("clean", "join:weights-m0", "join:weights-m1")
    assert not weights_of(spared)


def test_an_export_tells_what_stayed_in_the_remote_store(spared, tmp_path):
    names = [f"join:weights-m{m}" for m in range(3)]
    run = spared.ok("cache", "export", str(tmp_path / "usb"))
    assert f"run `doit {' '.join(names)}` to have them here" in run.output
    spared.ok(*names)
    run = spared.ok("cache", "export", str(tmp_path / "usb"))
    assert "not in the store" not in run.output
    assert "remote store" not in run.output


@pytest.mark.parametrize("lost", ["the server", "a blob", "the variable"])
def test_what_the_remote_store_has_lost_is_built(spared, nginx, lost):
    """Another action makes it, within the run that needs it."""
    if lost == "the server":
        nginx.stop()
    elif lost == "a blob":
        for path in (nginx.data / "cas").rglob("*"):
            if path.is_file() and path.read_text().endswith("weights-m0\n"):
                path.unlink()
    else:
        spared.env = {}
    spared.resize(3, 5)
    run = spared.ok()
    assert TRACEBACK not in run.output
    assert spared.ran()["weights-m0"] == 1
    assert shipped(spared) == shipped(spared, spared.expected())
    assert spared.ok().idle


def test_a_change_says_why_where_the_bytes_stayed(spared):
    spared.write("src/m0.txt", "0" * 6_000)
    assert "files.source" in spared.ok("explain", "join:weights-m0").output
    spared.ok()
    assert spared.ran()["weights-m0"] == 1
    assert weights_of(spared) == {"weights-m0"}
    assert shipped(spared) == shipped(spared, spared.expected())


def test_a_remote_store_that_is_down(graph, nginx):
    nginx.stop()
    run = graph.ok(env={"SLIPWAY_REMOTE": nginx.url})
    assert run.output.count("going on without it") == 1
    assert TRACEBACK not in run.output
    assert graph.is_right()


@pytest.mark.parametrize(
    "lie", ["another blob", "half a blob", "no blob", "garbage", "half a record", "the record of another", "a page"]
)
def test_a_remote_store_that_lies(graph, tmp_path, nginx, lie):
    """It is believed as far as it can be checked; what cannot be had from it is built."""
    for m in range(3):
        graph.write(f"src/m{m}.txt", f"{m}" * 5_000)  # so that there are blobs
    graph.ok(env={"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1"})
    blobs, records = ([p for p in (nginx.data / part).rglob("*") if p.is_file()] for part in ("cas", "ac"))
    assert blobs
    assert records
    shuffled = {path: other.read_bytes() for path, other in zip(blobs, [*blobs[1:], blobs[0]], strict=True)}
    others = {path: other.read_bytes() for path, other in zip(records, [*records[1:], records[0]], strict=True)}
    for path in blobs:
        if lie == "another blob":
            path.write_bytes(shuffled[path])
        elif lie == "half a blob":
            path.write_bytes(path.read_bytes()[:100])
        elif lie == "no blob":
            path.unlink()
    for path in records:
        if lie == "garbage":
            path.write_bytes(b"\x2a\x05hello")
        elif lie == "half a record":
            path.write_bytes(path.read_bytes()[:200])
        elif lie == "the record of another":
            path.write_bytes(others[path])
        elif lie == "a page":
            path.write_text("<html>Please log in</html>")
    other = graph_project(tmp_path / "elsewhere" / "graph")
    for m in range(3):
        other.write(f"src/m{m}.txt", f"{m}" * 5_000)
    run = other.ok(env={"SLIPWAY_REMOTE": nginx.url})
    assert run.built
    assert TRACEBACK not in run.output
    assert run.output.count("remote store") == (0 if lie == "no blob" else 1)
    assert other.is_right()
    assert other.ok().idle
