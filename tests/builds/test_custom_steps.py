"""Custom steps with the real doit: AVA's encoder as an example, what runs it again, and what is told of its key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from projects import Project

TOOLS = Path(__file__).parents[2] / "examples" / "ava" / "tools"

STEPS = """
steps:
  ava3:
    command: [python3, tools/ava3.py, encode, "{in.model}", -o, "{out}/tiny.ava3"]
    inputs: {model: "weights:tiny", tool: tools/ava3.py}
    outputs: [tiny.ava3]
    environment: {MODE: fast}
    secrets: [AVA3_KEY]
    ship: true
  ava3-verify:
    command: [sh, -c, 'python3 tools/ava3.py verify "$0"/* > "$1"', "{in.sealed}", "{out}/verified.txt"]
    inputs: {sealed: "ava3:once", tool: tools/ava3.py}
    outputs: [verified.txt]
    secrets: [AVA3_KEY]
"""
KEY = "correct horse battery"
TASKS = ("ava3-verify", "product:ava3/once")


@pytest.fixture
def ava(project: Project) -> Project:
    (project.root / "tools").mkdir()
    shutil.copy(TOOLS / "ava3.py", project.root / "tools")
    project.write("targets.yaml", project.path("targets.yaml").read_text() + STEPS)
    project.env["AVA3_KEY"] = KEY
    return project


def test_a_model_is_sealed_verified_and_shipped(ava: Project) -> None:
    first = ava.ok(*TASKS)
    assert first.built >= {"ava3:once", "ava3-verify:once", "product:ava3/once"}
    assert "tiny.ava3: " in ava.path("build/ava3-verify/once/verified.txt").read_text()
    assert ava.path("dist/ava3/once/tiny.ava3").read_bytes().startswith(b"AVA3-STANDIN")
    assert ava.ok(*TASKS).idle

    del ava.env["AVA3_KEY"]
    assert ava.ok(*TASKS).idle, "the secret is asked for only where a step has to run"
    ava.env["AVA3_KEY"] = "some other one"
    assert ava.ok(*TASKS).idle, "its value is in no key"
    refused = ava.doit("-a", "-s", "ava3-verify:once")
    assert "tiny.ava3 was changed, or sealed with another key" in refused.output

    ava.env["AVA3_KEY"] = KEY
    ava.edit("targets.yaml", "MODE: fast", "MODE: slow")
    changed = ava.ok(*TASKS)
    assert "ava3:once" in changed.built
    assert changed.built.isdisjoint({"ava3-verify:once", "product:ava3/once"}), "the same bytes came out"
    ava.edit("targets.yaml", "MODE: slow", "MODE: fast")
    assert ava.ok(*TASKS).worked == {"ava3:once": "restored"}
    ava.edit("tools/ava3.py", "BLOCK = 64", "BLOCK = 32")
    assert {"ava3:once", "ava3-verify:once"} <= ava.ok(*TASKS).built
    explained = ava.ok("explain", "ava3:once").output
    assert "is fresh" in explained
    assert not [path for path in ava.root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_what_a_step_reads_is_in_its_key(ava: Project) -> None:
    ava.ok("ava3")
    ava.path("weights/weight.txt").write_text(ava.path("weights/weight.txt").read_text() + "\n")
    assert {"weights:tiny", "ava3:once"} <= ava.ok("ava3").built
    other = ava.root.parent / "bin" / "python3"
    other.parent.mkdir()
    other.write_text(f'#!/bin/sh\nexec {shutil.which("python3")} "$@"\n')
    other.chmod(0o755)
    import os

    ava.env["PATH"] = f"{other.parent}:{os.environ['PATH']}"
    run = ava.ok("ava3")
    assert run.built == {"ava3:once"}
    assert "tools.program:python3" in ava.doit("explain", "ava3", env={"PATH": os.environ["PATH"]}).output


def test_a_missing_secret_and_a_failed_step_lose_nothing(ava: Project) -> None:
    ava.ok(*TASKS)
    before = ava.products()
    ava.edit("targets.yaml", "MODE: fast", "MODE: slow")
    del ava.env["AVA3_KEY"]
    run = ava.doit(*TASKS)
    assert "targets.yaml:19:3: the variable AVA3_KEY is not set" in run.output
    assert ava.products() == before
    ava.env["AVA3_KEY"] = KEY
    ava.edit("targets.yaml", "outputs: [tiny.ava3]", "outputs: [tiny.ava3, more]")
    run = ava.doit(*TASKS)
    assert "the command did not write more" in run.output
    assert "Traceback" not in run.output
    assert ava.products() == before


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
def test_reads_are_traced_when_that_is_asked_for(ava: Project) -> None:
    ava.ok("ava3")
    ava.ok("ava3")
    traced = ava.ok("--trace-reads", "ava3")
    assert traced.built == {"ava3:once"}, "it runs again, and nothing else does"
    assert ava.ok("ava3").idle
    secret = ava.write("secrets.txt", "undeclared")
    ava.edit("tools/ava3.py", "def main() -> int:\n", f"def main() -> int:\n    Path({str(secret)!r}).read_text()\n")
    before = ava.path("build/ava3/once/tiny.ava3").read_bytes()
    run = ava.doit("--trace-reads", "ava3")
    assert "the command read 1 file that no key knows" in run.output
    assert "secrets.txt" in run.output
    assert ava.path("build/ava3/once/tiny.ava3").read_bytes() == before
