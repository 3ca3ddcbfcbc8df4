"""Another machine with a copied or a remote store: it builds nothing, and gets the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, graph_project
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
