"""What changes on a machine while its worker lives: programs, packages, the code of Slipway, toolchains."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fake_wheels import compiler_wheel
from fault_graph import TRACEBACK
from loopback import Cluster
from projects import DODO, Project, clone

sys.path.append(str(Path(__file__).parents[1] / "mlc"))

from mlc_projects import FAKE, TARGETS, converted, environment

pytest.importorskip("distributed")

COMPILES = {f"compile-m{m}-b{b}" for m in range(3) for b in range(4)}


def tool(folder: Path, version: str) -> str:
    """A program of that version in a folder; what PATH is to be."""
    folder.mkdir(exist_ok=True)
    program = folder / "some-tool"
    program.write_text(f"#!/bin/sh\necho some-tool {version}\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def packages(folder: Path, version: str) -> str:
    """A package that can change what is compiled, of that version, in a folder; what PYTHONPATH is to be."""
    information = folder / "mlc_llm.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mlc-llm\nVersion: {version}\n")
    os.utime(folder, ns=(0, int(float(version) * 1e9)))  # as an installation does, it changes the directory
    return str(folder)


def asks_for(graph, name: str) -> None:
    graph.edit(
        "dodo.py",
        "        travels=",
        f'        tools=("{name}",) if subject.startswith("compile") else (),\n        travels=',
    )


def change_sources(graph) -> None:
    for m in range(3):
        graph.write(f"src/m{m}.txt", f"another source {m}\n")


def test_a_program_that_is_upgraded_is_asked_again(graph, cluster, tmp_path):
    asks_for(graph, "some-tool")
    graph.env["PATH"] = tool(tmp_path / "here", "1")
    worker = cluster.add(PATH=tool(tmp_path / "there", "1"))
    graph.ok("--on", cluster.address)
    assert worker.ran().keys() == COMPILES

    tool(tmp_path / "there", "2")
    change_sources(graph)
    run = graph.ok("--on", cluster.address)
    assert "has some-tool some-tool 2, not some-tool 1" in run.output
    assert set(worker.ran().values()) == {1}
    assert graph.is_right()

    tool(tmp_path / "here", "2")
    graph.ok("--on", cluster.address)
    assert set(worker.ran().values()) == {2}, "it can do that, without being started again"


def test_packages_that_were_upgraded_are_not_those_of_the_interpreter(graph, cluster, tmp_path):
    asks_for(graph, "python:current")
    here, there = (tmp_path / name / "site-packages" for name in ("here", "there"))
    graph.env["PYTHONPATH"] = packages(here, "1.0")
    worker = cluster.add(PYTHONPATH=f"{packages(there, '1.0')}{os.pathsep}{graph.root}")
    graph.ok("--on", cluster.address)
    assert worker.ran().keys() == COMPILES

    for folder in (here, there):
        packages(folder, "2.0")
    change_sources(graph)
    run = graph.ok("--on", cluster.address)
    assert "must be started again: the packages of python:current have changed" in run.output
    assert set(worker.ran().values()) == {1}
    assert graph.is_right()


def test_code_that_changed_is_not_what_the_worker_has_loaded(graph, cluster):
    worker = cluster.add()
    graph.edit("scale_steps/join.py", "Writes its inputs", "Writes all of its inputs")
    graph.edit("held_steps/join.py", '    note("end", subject)\n', '    note("end", subject)  # newer\n')
    run = graph.ok("--on", cluster.address)
    assert "must be started again: held_steps/join.py has changed" in run.output
    assert not worker.ran()
    assert graph.is_right()


@pytest.fixture
def compiler(tmp_path, nginx, monkeypatch) -> Project:
    """A project whose models are compiled by a toolchain that is made: the fake of mlc_llm, out of a wheel."""
    wheels = tmp_path / "wheels"
    compiler_wheel(wheels, "1.0", FAKE.read_text())
    made = Project(tmp_path / "project")
    made.write("dodo.py", DODO)
    targets = TARGETS.replace("mlc: {path: ../env}", "mlc: {requirements: [fake-compiler]}").split("products:")[0]
    made.write("targets.yaml", targets.replace("[ios, catalyst-arm64, catalyst-x86_64, adreno, web]", "[ios, web]"))
    converted(made.path("weights"))
    made.env = {"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1"}
    for name, value in {"PIP_NO_INDEX": "1", "UV_INDEX_URL": "", "PIP_FIND_LINKS": str(wheels)}.items():
        monkeypatch.setenv(name, value)
    return made


CELLS = {"compile:small-q0f32@ios+mlc", "compile:small-q0f32@web+mlc"}


@pytest.mark.slow
@pytest.mark.tvm
def test_projects_may_call_different_toolchains_by_one_name(compiler, nginx, tmp_path):
    older, newer = environment(tmp_path / "older-env"), environment(tmp_path / "newer-env")
    (newer / "bin" / "mlc_llm").write_text((older / "bin" / "mlc_llm").read_text() + "# newer\n")
    compiler.edit("targets.yaml", "{requirements: [fake-compiler]}", f"{{path: {older}}}")
    other = clone(compiler, tmp_path / "other")
    other.edit("targets.yaml", str(older), str(newer))
    cluster = Cluster(tmp_path / "cluster", nginx.url, tmp_path)
    cluster.start()
    try:
        cluster.add("--name", "worker-1", steps=False)
        for project in (compiler, other):
            run = project.ok("--on", cluster.address)
            assert run.output.count(" on worker-1") == len(CELLS), run.output
        compiler.edit("targets.yaml", "context_window_size: 64", "context_window_size: 32")
        run = compiler.ok("--on", cluster.address)
        assert run.output.count(" on worker-1") == len(CELLS), "the first is still there"
    finally:
        cluster.stop()


@pytest.mark.slow
@pytest.mark.tvm
def test_a_toolchain_that_cannot_be_made_there_is_used_here(compiler, nginx, tmp_path):
    cluster = Cluster(tmp_path / "cluster", nginx.url, tmp_path)
    cluster.start()
    try:
        cluster.add("--name", "worker-1", steps=False, PIP_FIND_LINKS=str(tmp_path / "nothing"))
        run = compiler.ok("--on", cluster.address)
        assert run.built >= CELLS
        assert "worker-1 cannot use toolchain mlc: ERROR: No matching distribution" in run.output
        assert TRACEBACK not in run.output
    finally:
        cluster.stop()
