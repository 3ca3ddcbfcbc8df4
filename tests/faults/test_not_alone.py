"""Others who write in the tree: what a step reads, where links lead, and what lies where a file should be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Background, Graph

# A step reads what its key names


def test_an_output_overwritten_and_put_back_while_a_step_reads_it(graph: Graph) -> None:
    graph.hold("compile-m0-b0")
    graph.hold("compile-m0-b0.done")
    run = Background(graph)
    run.until(lambda: graph.is_held("compile-m0-b0"))
    path = graph.path("build/out/weights-m0")
    right, state = path.read_bytes(), path.stat()
    path.write_bytes(b"x" * len(right))
    graph.release("compile-m0-b0")
    run.until(lambda: graph.is_held("compile-m0-b0.done"))
    path.write_bytes(right)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    graph.release("compile-m0-b0.done")
    assert run.wait() == 0, run.output()
    assert graph.is_right()
    assert graph.ran()["compile-m0-b0"] == 1, "it had read the right thing"
    shutil.rmtree(graph.path("build/out"))
    graph.ok()
    assert graph.is_right(), "nothing wrong is in the store"


def test_an_output_that_is_gone_when_a_step_reads_it(graph: Graph) -> None:
    graph.hold("compile-m0-b0")
    run = Background(graph)
    run.until(lambda: graph.is_held("compile-m0-b0"))
    graph.path("build/out/weights-m0").unlink()
    graph.release("compile-m0-b0")
    assert run.wait() == 0, run.output()
    assert graph.ok().worked == {"join:weights-m0": "restored"}
    assert graph.is_right()


def test_a_store_that_was_lost_is_filled_from_the_tree(built_graph: Graph) -> None:
    shutil.rmtree(built_graph.path("build/store"))
    built_graph.edit("dodo.py", "step.Params(subject)", 'step.Params(subject, "O3" if subject == "pack-b0" else "")')
    run = built_graph.ok()
    assert run.built == {"join:pack-b0"}
    assert built_graph.is_right()


# clean and forget beside a run


@pytest.mark.parametrize("words", [("clean",), ("clean", "-a"), ("forget", "-a"), ("clean", "join:weights-m0")])
def test_a_command_that_changes_the_tree_waits_for_a_run(graph: Graph, words: tuple[str, ...]) -> None:
    graph.hold("compile-m0-b0")
    run = Background(graph)
    run.until(lambda: graph.is_held("compile-m0-b0"))
    other = Background(graph, *words)
    other.until(lambda: "is building here; waiting" in other.output())
    assert graph.path("build/out/weights-m0").exists()
    graph.release("compile-m0-b0")
    assert run.wait() == 0, run.output()
    assert other.wait() == 0, other.output()
    graph.ok()
    assert graph.is_right()
    assert graph.ok().idle


def test_who_is_not_to_wait_cleans_nothing(graph: Graph) -> None:
    graph.hold("compile-m0-b0")
    run = Background(graph)
    run.until(lambda: graph.is_held("compile-m0-b0"))
    refused = graph.doit("clean", "-a", env={"SLIPWAY_WAIT": "0"})
    assert refused.status == 3
    assert f"another doit (pid {run.pid}" in refused.output
    assert graph.doit("clean", "-n", env={"SLIPWAY_WAIT": "0"}).status == 0, "a dry run changes nothing"
    graph.release("compile-m0-b0")
    assert run.wait() == 0
    assert graph.is_right()


def test_cleaning_again_and_again_beside_runs(graph: Graph) -> None:
    for _ in range(4):
        both = [Background(graph, *words, EACH_TAKES="0.005") for words in ((), ("clean", "-a"), ())]
        assert [run.wait() for run in both] == [0, 0, 0], [run.output() for run in both]
        graph.ok()
        assert graph.is_right()
        assert graph.ok().idle


# Links that lead elsewhere


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "theirs").write_text("theirs")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LINKED = [
    "build", "build/out", "build/scratch", "build/log", "build/stamp", "build/manifest", "build/cache", "build/store",
    "build/toolchains",
]  # fmt: skip


@pytest.mark.parametrize("name", LINKED)
def test_a_folder_that_is_a_link_to_elsewhere(built_graph: Graph, elsewhere: Path, name: str) -> None:
    path = built_graph.path(name)
    if path.exists():
        shutil.copytree(path, elsewhere, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(path)
    path.symlink_to(elsewhere)
    before = content(elsewhere)
    built_graph.write("src/m0.txt", "second\n")
    for words in ((), ("clean", "-a")):
        run = built_graph.doit(*words)
        assert content(elsewhere) == before, words
        assert run.status != 0, run.output
        assert f"is a link to {elsewhere}" in run.output
        assert "\n  hint: remove the link" in run.output
        assert TRACEBACK not in run.output
    path.unlink()
    built_graph.ok()
    assert built_graph.is_right()


STATE = [
    "workspace-targets.yaml",
    "stat-cache",
    "stamp/targets.yaml",
    "lock",
    "lock.owner",
    "last-run.json",
    "tools",
]


@pytest.mark.parametrize("name", [*STATE, "lock"])
def test_a_state_file_that_is_a_link_to_elsewhere(built_graph: Graph, elsewhere: Path, name: str) -> None:
    path = built_graph.path(f"build/{name}")
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere / "theirs")
    built_graph.write("src/m0.txt", "second\n")
    run = built_graph.doit()
    assert content(elsewhere) == {"theirs": b"theirs"}
    assert TRACEBACK not in run.output
    if run.status:
        assert "hint: remove" in run.output
        path.unlink()
        built_graph.ok()
    assert built_graph.is_right()


# What is no file in a file's place


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("not-there")


def folder(path: Path) -> None:
    path.mkdir()
    (path / "something").write_text("x")


ODD = [fifo, endless, loop, dangling, folder]
LOCKS = ["lock", "store/v2/lock"]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_what_is_no_file_where_state_should_be(built_graph: Graph, odd: Callable[[Path], None]) -> None:
    for name in {*STATE, "doit.json", "store/v2/stat-cache"} - {*LOCKS}:
        path = built_graph.path(f"build/{name}")
        path.unlink(missing_ok=True)
        odd(path)
    built_graph.write("src/m0.txt", "second\n")
    run = built_graph.doit(timeout=60)
    assert TRACEBACK not in run.output
    if run.status:
        assert odd is folder, run.output
        assert "hint: a directory is where a file should be: move it away" in run.output
        for name in STATE:
            shutil.rmtree(built_graph.path(f"build/{name}"), ignore_errors=True)
    built_graph.ok(timeout=60)
    assert built_graph.is_right()


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
@pytest.mark.parametrize("name", LOCKS)
def test_what_is_no_file_where_a_lock_should_be(built_graph: Graph, name: str, odd: Callable[[Path], None]) -> None:
    path = built_graph.path(f"build/{name}")
    path.unlink()
    odd(path)
    built_graph.write("src/m0.txt", "second\n")
    run = built_graph.doit(timeout=60)
    assert TRACEBACK not in run.output
    assert run.status != 0
    assert f"build/{name}: cannot " in run.output
    assert "hint: " in run.output
    shutil.rmtree(path) if odd is folder else path.unlink()
    built_graph.ok()
    assert built_graph.is_right()


@pytest.mark.parametrize("odd", [fifo, endless, loop, dangling], ids=lambda odd: odd.__name__)
@pytest.mark.parametrize("kind", ["cas", "ac"])
def test_odd_things_in_the_store_are_damage(graph: Graph, kind: str, odd: Callable[[Path], None]) -> None:
    graph.write("src/m0.txt", "large\n" * 2000)
    graph.ok()
    files = [path for path in graph.path(f"build/store/v2/{kind}").rglob("*") if path.is_file()]
    for path in files:
        path.unlink()
        odd(path)
    shutil.rmtree(graph.path("build/out"))
    assert TRACEBACK not in graph.ok(timeout=60).output
    assert graph.is_right()
    assert graph.ok().idle


def test_build_and_dist_that_are_files(graph: Graph) -> None:
    graph.write("build", "mine\n")
    for words in ((), ("plan",), ("list", "--all", "--status"), ("clean", "-a"), ("forget", "-a")):
        run = graph.doit(*words)
        assert TRACEBACK not in run.output, words
        assert graph.path("build").read_text() == "mine\n"
    run = graph.doit()
    assert run.status == 3, "nothing was started"
    assert "a file is where a directory should be: move it away" in run.output


@pytest.mark.parametrize(
    "place", ["build", "build/out", "build/scratch", "build/lock", "build/cache/x", "dist", "dist/kit"]
)
def test_a_store_among_the_outputs_is_refused(graph: Graph, place: str) -> None:
    run = graph.doit(env={"SLIPWAY_STORE": place}, timeout=60)
    assert run.status == 3, run.output
    assert "SLIPWAY_STORE" in run.output
    assert TRACEBACK not in run.output
    assert graph.ok(env={"SLIPWAY_STORE": "build/store"}).built
    assert graph.is_right()
