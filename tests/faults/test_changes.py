"""What a change of a file means, whoever made it and however it looks: right outputs, from no more work than needed."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest
from fault_graph import TRACEBACK, Background, Graph

INTERMEDIATE, FINAL = "build/out/compile-m1-b0", "build/out/pack-b0"


@pytest.fixture
def tooled(graph, tmp_path):
    """The graph, its compiles needing a program; and what makes that another version."""
    program = tmp_path / "bin" / "some-tool"

    def upgrade(version: str) -> None:
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho some-tool {version}\n")
        program.chmod(0o755)

    upgrade("1")
    needs = '        tools=("some-tool",) if subject.startswith("compile") else (),\n'
    graph.edit("dodo.py", "        files=files or {},\n", f"{needs}        files=files or {{}},\n")
    graph.env["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return graph, upgrade


@pytest.fixture(params=["with the stamp", "without it"])
def either(request, built_graph) -> Graph:
    """The built graph; the no-op stamp must not see less than the long way."""
    if request.param == "without it":
        shutil.rmtree(built_graph.path("build/stamp"))
    return built_graph


@pytest.mark.parametrize("name", [INTERMEDIATE, FINAL])
@pytest.mark.parametrize(
    "how", ["delete", "overwrite", "truncate", "same size and mtime", "replace", "make a directory"]
)
def test_a_spoilt_output_is_put_right_and_nothing_is_built_from_it(either, name, how):
    path = either.path(name)
    state, size = path.stat(), path.stat().st_size
    if how == "delete":
        path.unlink()
    elif how == "overwrite":
        path.write_text("garbage\n")
    elif how == "truncate":
        os.truncate(path, 0)
    elif how == "same size and mtime":
        path.write_text("x" * size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif how == "replace":
        other = either.write("other", "y" * size)
        os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
        other.rename(path)
    else:
        path.unlink()
        path.mkdir()
    run = either.ok()
    assert set(run.worked.values()) == {"restored"}
    assert either.is_right()
    assert not either.ran()
    assert either.ok().idle


def test_an_intermediate_and_what_is_made_of_it_spoilt_alike(either):
    """Garbage that was archived by hand is no more believed than other garbage."""
    for name in (INTERMEDIATE, "build/out/archive-b0"):
        either.path(name).write_text("garbage\n")
    either.ok()
    assert either.is_right()
    assert not either.ran()


def test_an_intermediate_spoilt_and_its_source_changed(either):
    either.path(INTERMEDIATE).write_text("garbage\n")
    either.write("src/m0.txt", "second\n")
    either.ok()
    assert either.is_right()
    assert "compile-m1-b0" not in either.ran()


def test_a_changed_parameter_of_an_action(either):
    either.edit("dodo.py", "step.Params(subject)", 'step.Params(subject, "O3" if subject == "compile-m1-b0" else "")')
    assert either.ok().built == {"join:compile-m1-b0"}
    assert either.ok().idle


def test_a_changed_step_of_the_projects_own(either):
    either.edit("held_steps/join.py", '"""Do the work', '"""Do all the work')
    assert len(either.ok().built) == len(either.expected())
    assert either.ok().idle


def test_a_task_that_somebody_adds_to_the_dodo_is_not_overlooked(either):
    with either.path("dodo.py").open("a") as file:
        file.write("\n\ndef task_mine():\n    return {'actions': ['touch mine']}\n")
    either.ok()
    assert either.path("mine").exists()


def test_what_is_to_be_forgotten_is_done_again(either):
    either.ok("forget", "join:compile-m1-b0")
    assert either.ok().built == {"join:compile-m1-b0"}
    assert either.ok().idle


def test_a_workspace_that_knows_less_than_the_stamp(built_graph):
    """What others made, and the actions behind a changed file read, only the workspace knows."""
    with closing(sqlite3.connect(built_graph.path("build/workspace-targets.yaml"))) as table:
        assert table.execute("DELETE FROM entries WHERE name = CAST('join:compile-m1-b0' AS BLOB)").rowcount == 1
        table.commit()
    built_graph.write("src/m0.txt", "second\n")
    built_graph.ok()
    assert built_graph.is_right()
    assert built_graph.ok().idle


def test_a_workspace_of_yesterday(built_graph):
    """As a restored backup leaves it."""
    files = [built_graph.path(f"build/workspace-targets.yaml{suffix}") for suffix in ("", "-wal", "-shm")]
    yesterday = {path: path.read_bytes() for path in files if path.exists()}
    built_graph.write("src/m1.txt", "second\n")
    built_graph.ok()
    for path in files:
        path.unlink(missing_ok=True)
    for path, data in yesterday.items():
        path.write_bytes(data)
    built_graph.write("src/m0.txt", "second\n")
    built_graph.ok()
    assert built_graph.is_right()
    assert built_graph.ok().idle


def test_content_and_size_changed_with_the_mtime_kept(either, tmp_path):
    source = either.path("src/m1.txt")
    other = tmp_path / "other"
    other.write_text("second, and longer\n")
    state = source.stat()
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    subprocess.run(["cp", "-p", other, source], check=True)
    assert source.stat().st_mtime_ns == state.st_mtime_ns
    either.ok()
    assert either.is_right()


def test_content_changed_with_size_and_mtime_kept(either):
    source = either.path("src/m1.txt")
    state = source.stat()
    source.write_text("S" + source.read_text()[1:])
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    either.ok()
    assert either.is_right()


def test_a_file_changed_in_the_same_tick_as_it_was_read(graph):
    """Its times and its size are those of the file that was read."""
    for version in range(4):
        graph.write("src/m1.txt", f"a{version}\n")
        graph.ok("join:weights-m1")
        graph.write("src/m1.txt", f"b{version}\n")
        graph.ok("join:weights-m1")
        assert graph.outputs()["weights-m1"].startswith(f"b{version}\n")


def test_a_graph_of_one_task(graph):
    graph.resize(1, 0)
    assert graph.ok().built == {"join:weights-m0"}
    assert graph.ok().idle
    graph.write("src/m0.txt", "second\n")
    assert graph.ok().built == {"join:weights-m0"}
    assert graph.is_right()
    assert graph.ok().idle


def test_a_touched_file_builds_nothing(either):
    os.utime(either.path("src/m1.txt"))
    os.utime(either.path(INTERMEDIATE))
    either.path(FINAL).write_text(either.path(FINAL).read_text())
    assert either.ok().idle
    assert not either.ran()


@pytest.mark.parametrize("is_built", [False, True])
def test_an_input_changed_while_its_task_runs(graph, is_built):
    if is_built:
        graph.ok()
        graph.write("src/m1.txt", "second\n")
    graph.hold("weights-m1")
    run = Background(graph)
    run.until(lambda: graph.is_held("weights-m1"))
    graph.write("src/m1.txt", "third\n")
    graph.release("weights-m1")
    assert run.wait() == 0, run.output()
    assert graph.is_right()
    assert graph.ran()["weights-m1"] == 1 + is_built + 1
    assert graph.ok().idle


def test_an_input_changed_and_put_back_while_its_task_runs(graph):
    """The step may have read either: its result is not to be trusted, though the digests agree again."""
    first = graph.path("src/m1.txt").read_text()
    graph.hold("weights-m1")
    graph.hold("weights-m1.done")
    run = Background(graph)
    run.until(lambda: graph.is_held("weights-m1"))
    graph.write("src/m1.txt", "second\n")
    graph.release("weights-m1")
    run.until(lambda: graph.is_held("weights-m1.done"))
    graph.write("src/m1.txt", first)
    graph.release("weights-m1.done")
    assert run.wait() == 0, run.output()
    assert graph.is_right()
    assert graph.ok().idle


def upgraded_during(tooled, subject: str) -> tuple[int, str]:
    """A run in which the program is upgraded while a task of that name runs: its status and output."""
    graph, upgrade = tooled
    graph.hold(subject)
    run = Background(graph)
    run.until(lambda: graph.is_held(subject))
    upgrade("2")
    graph.release(subject)
    return run.wait(), run.output()


def test_a_program_upgraded_while_its_task_runs(tooled):
    graph, upgrade = tooled
    status, said = upgraded_during(tooled, "compile-m0-b0")
    assert status != 0
    assert "some-tool was changed while join:compile-m0-b0 ran" in said
    assert "run doit again" in said
    assert "join:compile-m0-b0" in graph.ok().built
    upgrade("1")
    assert "join:compile-m0-b0" in graph.ok().built, "what ran meanwhile is not what version 1 makes"


def test_a_program_upgraded_while_other_tasks_run(tooled):
    graph, _ = tooled
    status, said = upgraded_during(tooled, "pack-b0")
    assert status == 0, said
    assert "join:compile-m0-b0" in graph.ok().built
    assert graph.ok().idle


def test_an_input_deleted_while_its_task_runs(graph):
    graph.hold("weights-m1")
    run = Background(graph)
    run.until(lambda: graph.is_held("weights-m1"))
    graph.path("src/m1.txt").unlink()
    graph.release("weights-m1")
    assert run.wait() != 0
    assert re.search("src/m1.txt: .*no such file", run.output())
    assert TRACEBACK not in run.output()
    graph.write("src/m1.txt", "second\n")
    graph.ok()
    assert graph.is_right()


def test_an_intermediate_changed_while_it_is_read(built_graph):
    """What the step made of it is not what its key says."""
    built_graph.write("src/m0.txt", "second\n")
    built_graph.hold("archive-b0")
    run = Background(built_graph)
    run.until(lambda: built_graph.is_held("archive-b0"))
    built_graph.path(INTERMEDIATE).write_text("garbage\n")
    built_graph.release("archive-b0")
    run.wait()
    assert TRACEBACK not in run.output()
    built_graph.ok()
    assert built_graph.is_right(), "garbage was archived"
    assert built_graph.ok().idle


def test_an_input_that_never_holds_still(graph):
    touch = "    Path('src/m1.txt').open('a').write('more\\n')\n"
    graph.edit("held_steps/join.py", '    note("end"', f'{touch}    note("end"')
    run = graph.doit("join:weights-m1")
    assert run.status != 0
    assert "its inputs kept changing while join:weights-m1 ran" in run.output
    assert TRACEBACK not in run.output
