"""`doit graph` draws the same picture each time, and Graphviz can read it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytestmark = pytest.mark.tvm


def test_graphviz_draws_it(built):
    dot = shutil.which("dot")
    if dot is None:
        pytest.skip("Graphviz is not installed")
    text = built.ok("graph").output
    done = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "compile" in done.stdout
    assert done.stdout.count('class="node"') == 18  # 17 tasks, and the one state that occurs


def test_the_states_are_in_the_colours_and_in_the_legend(built):
    fresh = built.ok("graph").output
    assert fresh == built.ok("graph").output
    assert '"legend fresh"' in fresh
    assert '"legend build"' not in fresh
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    text = built.ok("graph").output
    lines = {line.partition(" [")[0].strip(): line for line in text.splitlines()}
    assert "#ffd19a" in lines['"compile:tiny-f32@ios-arm64"']
    assert "#fff3b0" in lines['"archive:ios-arm64"']
    assert "#cdeac0" in lines['"archive:host"']
    assert {'"legend fresh"', '"legend build"', '"legend unknown"'} <= lines.keys()


def test_named_tasks_come_with_what_they_need_and_nothing_else(built):
    text = built.ok("graph", "bundle:tiny-f32").output
    assert '"weights:tiny" -> "bundle:tiny-f32";' in text
    assert "archive:" not in text


def test_mermaid(built):
    lines = built.ok("graph", "--format", "mermaid", "archive:host").output.splitlines()
    assert lines[0] == "flowchart LR"
    assert any(line.endswith('["archive<br/>host"]:::fresh') for line in lines)
    assert sum("-->" in line for line in lines) == 3
    assert lines[-1].startswith("  classDef fresh fill:#")


def test_another_format_is_refused(project):
    run = project.doit("graph", "--format", "png")
    assert run.status == 3
    assert "png" in run.output
