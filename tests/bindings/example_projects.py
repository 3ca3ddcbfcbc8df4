"""The examples that Rust calls, built for this machine alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from projects import Project

ROOT = Path(__file__).parent.parent.parent


def host_only(name: str, folder: Path) -> Project:
    """An example without the backends that nothing here can run, built."""
    root = folder / name
    shutil.copytree(ROOT / "examples" / name, root, ignore=shutil.ignore_patterns("build", "dist", "target"))
    project = Project(root)
    text = project.path("targets.yaml").read_text()
    text = re.sub(r"(backends?): \[host, [^]]*\]", r"\1: [host]", text)
    project.write("targets.yaml", re.sub(r"^  ios: \{kind: xcframework.*\n", "", text, flags=re.MULTILINE))
    project.ok(timeout=900)
    return project


def told_by(project: Project, program: str, *words: str) -> Any:
    """What a Python program says in JSON, in the example's folder."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


def cargo_in(project: Project, *words: str | Path, **variables: object) -> str:
    """What `cargo` prints in the example's `rust` folder."""
    done = subprocess.run(
        ["cargo", words[0], "--offline", "--quiet", *words[1:]],
        cwd=project.path("rust"),
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
