"""A real Dask cluster on this machine, with the real `doit worker`, around the generated graph of the fault tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fault_graph import Graph, graph_project, until
from projects import DOIT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Worker:
    """One `doit worker`. Its directory has a diary of the actions that began there."""

    def __init__(self, folder: Path, words: Sequence[str], env: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._said = (folder / "said").open("wb")
        self.process = subprocess.Popen(
            [DOIT, "worker", "--folder", str(folder / "home"), *words],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, start_new_session=True,
        )  # fmt: skip

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def ran(self) -> Counter[str]:
        """How often each action has begun here."""
        diary = self.folder / "diary"
        lines = diary.read_text().splitlines() if diary.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith("begin"))

    def hold(self, subject: str) -> None:
        """Have an action stop in the middle of its work here."""
        (self.folder / "hold").mkdir(exist_ok=True)
        (self.folder / "hold" / subject).touch()

    def is_held(self, subject: str) -> bool:
        return (self.folder / "held" / subject).exists()

    def release(self, subject: str) -> None:
        (self.folder / "hold" / subject).unlink()

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)
        if how != signal.SIGSTOP:
            self.process.wait(20)
            self._said.close()


class Cluster:
    """A scheduler and its workers. `steps` is where modules with steps are found."""

    def __init__(self, folder: Path, remote: str, steps: Path, **env: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.scheme = "tls" if any("TLS" in name for name in env) else "tcp"
        self.env = {
            **os.environ, "PYTHONPATH": str(steps), "SLIPWAY_REMOTE": remote, "SLIPWAY_REMOTE_WRITE": "1", **env,
        }  # fmt: skip
        self.workers: list[Worker] = []
        self._scheduler: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self, *words: str) -> None:
        """Start the scheduler, at the same address each time."""
        self.folder.mkdir(exist_ok=True)
        said = (self.folder / "scheduler").open("wb")
        command = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--no-dashboard",
            "--host",
            self.address,
            *words,
        ]
        self._scheduler = subprocess.Popen(command, env=self.env, cwd=self.folder, stdout=said, stderr=said)
        said.close()
        until(self._listens, 30, (self.folder / "scheduler").read_text)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def add(self, *words: str, wait: bool = True, steps: bool = True, **env: str) -> Worker:
        given = [self.address, "-n", "2", *(("--steps", "held_steps") if steps else ()), *words]
        worker = Worker(self.folder / f"worker{len(self.workers)}", given, {**self.env, **env})
        self.workers.append(worker)
        if wait:
            until(lambda: "working for" in worker.said() or worker.process.poll() is not None, 30, worker.said)
            assert worker.process.poll() is None, worker.said()
        return worker

    def end_scheduler(self) -> None:
        if self._scheduler is not None:
            self._scheduler.kill()
            self._scheduler.wait()
            self._scheduler = None

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.end_scheduler()


def travelling_graph(root: Path, models: int = 3, backends: int = 4) -> Graph:
    """The graph, its compiles being actions that travel; those of one model share work."""
    graph = graph_project(root, models, backends)
    graph.edit(
        "dodo.py",
        "        outputs=(subject,),\n",
        "        outputs=(subject,),\n"
        '        travels=subject.startswith("compile"),\n'
        '        shares=subject.split("-")[1] if subject.startswith("compile") else "",\n',
    )
    return graph
