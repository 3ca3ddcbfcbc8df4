"""Projects to break: the generated graph of `bench/` with steps that can be held, and doits that run in the background.

The graph is that of the benchmarks: M weights, M x B compiles, B archives, B flags, B / 2 packs, all of them trivial;
so what a file of it must contain can be said without building it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from projects import DOIT, Project

from pipeline.store.store import Store

HERE = Path(__file__).resolve().parent
BENCH = HERE.parents[1] / "bench"

TRACEBACK = "Traceback (most recent call last)"


class Graph(Project):
    """A project around the generated graph. `diary` has a line for each time an action begins or ends."""

    def resize(self, models: int, backends: int) -> None:
        self.write("targets.yaml", json.dumps({"models": models, "backends": backends}))

    def size(self) -> tuple[int, int]:
        size = self.json("targets.yaml")
        return size["models"], size["backends"]

    def ran(self) -> Counter[str]:
        """How often each action has begun since the last call."""
        path = self.path("diary")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return Counter(line.split()[1] for line in lines if line.startswith("begin"))

    def hold(self, subject: str) -> None:
        self.write(f"hold/{subject}", "")

    def is_held(self, subject: str) -> bool:
        return self.path(f"held/{subject}").exists()

    def release(self, subject: str) -> None:
        self.path(f"hold/{subject}").unlink()

    def outputs(self) -> dict[str, str]:
        """Every output there is, by path below build/out."""
        out = self.path("build/out")
        return {str(path.relative_to(out)): path.read_text() for path in sorted(out.rglob("*")) if path.is_file()}

    def expected(self) -> dict[str, str]:
        """What the outputs must be, from the sources alone."""
        models, backends = self.size()
        made = {}
        for m in range(models):
            made[f"weights-m{m}"] = self.path(f"src/m{m}.txt").read_text() + f"weights-m{m}\n"
        for b in range(backends):
            for m in range(models):
                made[f"compile-m{m}-b{b}"] = made[f"weights-m{m}"] + f"compile-m{m}-b{b}\n"
            objects = [made[f"compile-m{m}-b{b}"] for m in range(models)]
            made[f"archive-b{b}"] = "".join(objects) + f"archive-b{b}\n"
            made[f"flags-b{b}"] = made[f"archive-b{b}"] + f"flags-b{b}\n"
        for b in range(0, backends - 1, 2):
            two = made[f"archive-b{b}"] + made[f"archive-b{b + 1}"]
            made[f"pack-b{b}"] = two + f"pack-b{b}\n"
        return made

    def is_right(self) -> bool:
        return self.outputs() == self.expected()


def graph_project(root: Path, models: int = 3, backends: int = 4) -> Graph:
    """A project around the graph; nothing has been built."""
    shutil.copytree(BENCH / "scale_steps", root / "scale_steps", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "held_steps", root / "held_steps", ignore=shutil.ignore_patterns("__pycache__"))
    dodo = (BENCH / "scale_dodo.py").read_text()
    assert "from scale_steps import" in dodo
    graph = Graph(root)
    graph.write("dodo.py", dodo.replace("from scale_steps import", "from held_steps import"))
    for m in range(models):
        graph.write(f"src/m{m}.txt", f"source {m}\n")
    graph.resize(models, backends)
    return graph


class Background:
    """A doit that runs while the test goes on, the leader of a process group of its own."""

    def __init__(self, project: Project, *words: str, **env: str) -> None:
        self._said = project.root.parent / f"said-{time.monotonic_ns()}"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [DOIT, *words],
                cwd=project.root,
                env={**os.environ, "SLIPWAY_CACHE": str(project.root.parent / "cache"), **project.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def output(self) -> str:
        return self._said.read_text()

    def until(self, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so, or fail the test."""
        until(is_so, seconds, self.output)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Send the whole group a signal; return the status it ended with."""
        os.killpg(self.pid, how)
        return self._process.wait(30)

    def wait(self, seconds: float = 120) -> int:
        return self._process.wait(seconds)


def is_alive(pid: int) -> bool:
    """Whether a process has not ended (a zombie that nobody fetched has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that are not gone."""
    found: list[int] = []
    with suppress(OSError):  # it ended just now, or a thread of it
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def until(is_so: Callable[[], bool], seconds: float = 60, otherwise: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.005)


def recorded(store: Path) -> set[str]:
    """The actions whose work a store has kept."""
    opened = Store(store, read_only=True)
    try:
        return {record.name for record in opened.records.all() if opened.lookup(record.key) is not None}
    finally:
        opened.close()
