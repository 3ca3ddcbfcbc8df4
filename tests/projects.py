"""A user's project in a temporary folder, built by the real `doit`. `conftest` makes fixtures of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

TINY = Path(__file__).parent / "builds" / "tiny"
DOIT = Path(sys.executable).parent / "doit"
DODO = "from pipeline.dodo import DOIT_CONFIG, task_slipway\n"


@dataclass
class Run:
    """How one call of doit ended. `worked` names the tasks that were built or restored, by how."""

    status: int
    output: str
    worked: dict[str, str] = field(default_factory=dict)

    @property
    def built(self) -> set[str]:
        return {name for name, how in self.worked.items() if how == "built"}

    @property
    def idle(self) -> bool:
        return self.status == 0 and not self.worked


@dataclass
class Project:
    """A folder with targets.yaml, recipes and a dodo.py. `wrapper` are the words before `doit` on the command line."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()

    def doit(self, *words: str, env: dict[str, str] | None = None, timeout: float = 300) -> Run:
        done = subprocess.run(
            [*self.wrapper, DOIT, *words],
            cwd=self.root,
            env={**os.environ, "SLIPWAY_CACHE": str(self.root.parent / "cache"), **self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        line = r"^\[ *\d+/\d+\] (\S+): (built|restored|fetched|stays) in"
        worked = dict(re.findall(line, done.stdout, re.MULTILINE))
        return Run(done.returncode, done.stdout, worked)

    def ok(self, *words: str, **more) -> Run:
        run = self.doit(*words, **more)
        assert run.status == 0, run.output
        return run

    def path(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text()
        assert old in text, f"{old!r} is not in {name}"
        self.path(name).write_text(text.replace(old, new))

    def json(self, name: str):
        return json.loads(self.path(name).read_text())

    def products(self) -> dict[str, bytes]:
        """Everything in dist/ by relative path."""
        dist = self.path("dist")
        return {str(p.relative_to(dist)): p.read_bytes() for p in sorted(dist.rglob("*")) if p.is_file()}


def checkouts_store() -> dict[str, str]:
    """The variable that has a project share the store of this checkout, where the default matrix was built in it.

    For what takes a minute to compile and is no test's subject: the web runtime.
    """
    store = Path(__file__).parents[1] / "build" / "store"
    return {"SLIPWAY_STORE": str(store)} if store.is_dir() else {}


def tiny_project(root: Path) -> Project:
    """A project around the tiny model; nothing has been built."""
    shutil.copytree(TINY, root)
    (root / "dodo.py").write_text(DODO)
    return Project(root)


def clone(project: Project, root: Path) -> Project:
    """The project as a version control system would hand it to another machine: without build/ and dist/."""
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("build", "dist", "__pycache__"))
    return Project(root, dict(project.env))
