"""The tutorial, done as it is written: a project, its build, and what a change costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from document_pages import page_at

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(number: int) -> str:
    text = page_at("docs/tutorial.md").text
    return text.partition(f"\n## {number}. ")[2].partition(f"\n## {number + 1}. ")[0]


def blocks(number: int, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(section(number)) if kind == language]


def normal(line: str) -> str:
    """A line without what differs from run to run: numbers, and the spaces and dashes that follow from their width."""
    line = re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "#", line)
    return re.sub(r"-{3,}", "---", re.sub(r" +", " ", line).replace("[ #", "[#")).strip()


def session(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a block, each with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def play(block: str, cwd: Path, status: int = 0) -> None:
    """Run the commands of a block and hold what they print against it; `…` stands for any lines."""
    for command, shown in session(block):
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=cwd,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        printed = {normal(line) for line in done.stdout.splitlines()} | {""}
        wanted = {normal(line) for line in shown if line != "…"}
        assert wanted - printed == set()
        if shown and "…" not in shown:
            assert printed - wanted <= {""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the reader is: `embedder` is what the first two sections make."""
    home = tmp_path_factory.mktemp("tutorial")
    first = blocks(1, "console")[0]
    assert "pip install" in first  # this very environment stands for what is made there
    (home / "embedder").mkdir()
    play(first[first.index("$ doit init") :], home / "embedder")
    play(blocks(2, "console")[0], home / "embedder")
    return home


@pytest.mark.tvm
@pytest.mark.slow
def test_a_change_costs_what_the_tutorial_says(folder):
    root = folder / "embedder"
    lower, back, broken = blocks(5, "console")
    targets, recipe = root / "targets.yaml", root / "recipes/scorer.py"
    before = targets.read_text()
    line = next(line for line in before.splitlines() if line.startswith("  ios-arm64:"))
    targets.write_text(before.replace(line, line.replace('"16.0"', '"15.0"')))
    play(lower, root)
    targets.write_text(before)
    play(back, root)
    good = recipe.read_text()
    assert "op.relu" in good
    recipe.write_text(good.replace("op.relu", "op.silu"))
    play(broken, root, status=1)
    recipe.write_text(good)
    done = subprocess.run([Path(sys.executable).parent / "doit"], cwd=root, capture_output=True, text=True, check=True)
    assert re.search(r"^\d+ tasks: .* restored$", done.stdout, re.MULTILINE)
