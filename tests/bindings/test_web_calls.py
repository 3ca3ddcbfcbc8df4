"""The page's TypeScript program, run in Node with the real web runtime on the module that ships: MiniLM's embedding."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from projects import DODO, Project, checkouts_store
from test_page_programs import MOST_LINES, REFERENCE, ROOT, TARGETS, program

from pipeline.action import Tool
from pipeline.runners.node import installed

WEB = TARGETS.replace("{host: {preset: host}}", "{page: {preset: wasm}}").replace("[host]", "[page]")
WEB = WEB.replace("native: {kind: native,", "web: {kind: web,") + "runtime: {wheel: true}\n"


def test_few_lines_are_needed():
    lines = [line for line in program("ts").splitlines() if line and not line.startswith("import")]
    assert 0 < len(lines) <= MOST_LINES


@pytest.mark.slow
def test_the_program_gives_the_published_embedding(tmp_path):
    for name in ("emcc", "node", "npm"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
    project = Project(tmp_path / "project", checkouts_store())
    project.write("targets.yaml", WEB)
    project.write("dodo.py", DODO)
    project.write("recipes/minilm.py", (ROOT / "recipes/minilm.py").read_text())
    project.ok(timeout=3000)
    npm = Tool("npm", Path(shutil.which("npm") or ""), "")
    page = tmp_path / "page"
    page.mkdir()
    (page / "node_modules").mkdir()
    (page / "node_modules/@mlc-ai").symlink_to(installed(npm, tmp_path / "npm.log") / "node_modules/@mlc-ai")
    (page / "node_modules/slipway-web").symlink_to(project.path("dist/web"))
    (page / "bundle").symlink_to(project.path("dist/bundle"))
    (page / "main.mjs").write_text(program("ts"))  # it has no types, so it is JavaScript
    done = subprocess.run(["node", "main.mjs"], cwd=page, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (wanted,) = (one["embedding"] for one in REFERENCE["sentences"] if one["text"] == "Ok")
    got = np.array(done.stdout.split(), "float64")
    assert json.loads(project.path("dist/web/package.json").read_text())["name"] == "slipway-web"
    assert np.abs(got - wanted).max() < 2e-6
