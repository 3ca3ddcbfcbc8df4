"""A disk that gets full at any moment of a run, and a store that cannot be written: told, and no harm done."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Graph, graph_project

PAGE = 4096
"""Bytes by which the free space of a tmpfs is counted."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({error})")
    yield path
    subprocess.run(["umount", path], check=True)


def fill(disk: Path, pages: int) -> None:
    """Leave just so much."""
    with (disk / "filler").open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - pages * PAGE))


@pytest.mark.parametrize("is_built", [False, True])
@pytest.mark.parametrize("pages", [0, 1, 3, 8, 16, 24, 32, 40, 60])
def test_a_disk_that_is_full_after_so_many_pages(disk, pages, is_built):
    graph = graph_project(disk / "graph")
    if is_built:
        graph.ok()
        graph.write("src/m0.txt", "second, and somewhat longer\n" * 100)
    fill(disk, pages)
    run = graph.doit()
    assert TRACEBACK not in run.output
    if run.status != 0:
        assert "no space left on device" in run.output
        assert "free some space" in run.output
    (disk / "filler").unlink()
    again = graph.ok()
    assert TRACEBACK not in again.output
    assert not again.built & run.built, "finished work was lost"
    assert graph.is_right()
    assert graph.ok().idle


@pytest.fixture
def full_store(disk: Path, tmp_path: Path) -> tuple[Graph, Path]:
    """A graph, and a read-only store on another disk that has all of it."""
    store = disk / "store"
    first = graph_project(tmp_path / "first" / "graph")
    for m in range(3):
        first.write(f"src/m{m}.txt", f"{m}" * 70_000)
    first.ok(env={"SLIPWAY_STORE": str(store)})
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    graph = graph_project(tmp_path / "second" / "graph")
    for m in range(3):
        graph.write(f"src/m{m}.txt", f"{m}" * 70_000)
    return graph, store


def test_a_store_that_can_only_be_read_is_good_for_hits(full_store):
    graph, store = full_store
    run = graph.ok(env={"SLIPWAY_STORE": str(store)})
    assert set(run.worked.values()) == {"restored"}
    assert graph.is_right()
    assert graph.ok(env={"SLIPWAY_STORE": str(store)}).idle


def test_what_a_read_only_store_lacks_is_told_and_built_elsewhere(full_store):
    graph, store = full_store
    graph.write("src/m0.txt", "second\n")
    run = graph.doit(env={"SLIPWAY_STORE": str(store)})
    assert run.status != 0
    assert TRACEBACK not in run.output
    assert "read-only" in run.output
    assert "SLIPWAY_STORE" in run.output
    graph.ok()
    assert graph.is_right()


def test_what_is_fresh_needs_no_disk_that_can_be_written(disk: Path):
    graph = graph_project(disk / "graph")
    graph.ok()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for words in ((), ("join:pack-b0",), ("--strict",)):
        assert graph.ok(*words, env={"PYTHONDONTWRITEBYTECODE": "1"}).idle
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    graph.write("src/m0.txt", "second\n")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    run = graph.doit()
    assert run.status == 1
    assert TRACEBACK not in run.output
    assert "cannot build join:weights-m0: read-only file system" in run.output
