"""One matrix on a cluster of this machine: what do a scheduler, two workers and a store between them cost?

    python bench/cluster.py                    # the default matrix, and a graph of trivial steps; ten minutes
    python bench/cluster.py --write            # puts the table into docs/explanation/speed.md

* **The default matrix**, cold: `doit -n 2`, and `doit -n 2 --on` a cluster of two workers with one slot each, by turns.
  The remote store is a real nginx, empty at first; the workers have just been started, with a store of their own. Both
  ways must come to the same bytes in dist/.
* **An order**: a graph of trivial steps. What the cluster takes longer for each that travels: sending the order, the
  inputs' and the results' way through the remote store, and the receipt.

Run it with the Python that has Slipway with the extra `dask`, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import table
from measure import Cost, Failed, median, run
from project import DOIT, frozen, project
from second import nginx

from pipeline.files import hash_path

HERE = Path(__file__).resolve().parent
WORKERS = 2
WITH_TIMES = {"link.json", "manifest.json"}
MODELS, BACKENDS = 10, 10
"""Of the graph of trivial steps: so many orders are their product."""


@contextlib.contextmanager
def cluster(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A scheduler and its workers, all ready; gives the address.

    Raises:
        Failed: one of them does not start.
    """
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    python, started = [sys.executable, "-m"], []
    commands = {"scheduler": [*python, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]}
    for number in range(WORKERS):
        words = [address, "-n", "1", "--folder", folder / f"home{number}", "--steps", "scale_steps"]
        commands[f"worker{number}"] = [DOIT, "worker", *map(str, words)]
    try:
        for name, command in commands.items():
            with (folder / name).open("wb") as said:
                started.append(
                    subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=said, stderr=said)
                )
            ready = "Scheduler at" if name == "scheduler" else "working for"
            for _ in range(600):
                if ready in (folder / name).read_text():
                    break
                time.sleep(0.05)
            else:
                raise Failed((folder / name).read_text())
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def trivial(folder: Path) -> Path:
    """A project of trivial steps that travel."""
    folder.mkdir(parents=True)
    place = "        outputs=(subject,),\n"
    travelling = f'{place}        travels=subject.startswith("compile"),\n'
    (folder / "dodo.py").write_text((HERE / "scale_dodo.py").read_text().replace(place, travelling))
    (folder / "targets.yaml").write_text(json.dumps({"models": MODELS, "backends": BACKENDS}))
    for number in range(MODELS):
        (folder / "src").mkdir(exist_ok=True)
        (folder / "src" / f"m{number}.txt").write_text(f"m{number}\n" * 100)
    return folder


def shipped(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a product, or trivial step's output, but of those that say how long something took."""
    files = (path for name in ("dist", "build/out") for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hash_path(path) for path in files if path.name not in WITH_TIMES}


def by_turns(work: Path, rounds: int, make: str) -> tuple[list[Cost], list[Cost]]:
    """Costs of a cold build here, and on a cluster.

    Raises:
        Failed: one does not build, or the bytes differ.
    """
    env = frozen(work / "code")
    shutil.copytree(HERE / "scale_steps", work / "code" / "scale_steps", ignore=shutil.ignore_patterns("__pycache__"))
    here, there = [], []
    for number in range(rounds):
        trees = [(project if make == "matrix" else trivial)(work / f"{where}{number}") for where in ("here", "there")]
        here.append(run([DOIT, "-n", "2"], trees[0], env))
        with nginx(work / f"nginx{number}") as url:
            both = {**env, "SLIPWAY_REMOTE": url, "SLIPWAY_REMOTE_WRITE": "1"}
            with cluster(work / f"cluster{number}", both) as address:
                there.append(run([DOIT, "-n", "2", "--on", address], trees[1], both))
        if shipped(trees[0]) != shipped(trees[1]):
            differ = sorted(name for name, _ in shipped(trees[0]).items() ^ shipped(trees[1]).items())
            raise Failed(f"not the same bytes: {', '.join(differ)}")
    return here, there


def rows(work: Path, rounds: int) -> Iterator[list[str]]:
    """The rows of the table."""
    for title, make in (("the default matrix", "matrix"), (f"{MODELS * BACKENDS} trivial steps", "trivial")):
        here, there = by_turns(work / make, rounds, make)
        ratio = sorted(two.wall / one.wall for one, two in zip(here, there, strict=True))[rounds // 2]
        one, two = median(here), median(there)
        yield [title, f"{one.wall:.1f}", f"{one.cpu:.1f}", f"{two.wall:.1f}", f"{ratio:.2f} ×"]
        if make == "trivial":
            yield ["… each order", "", "", f"{1000 * (two.wall - one.wall) / (MODELS * BACKENDS):.0f} ms more", ""]


def measured(asked: argparse.Namespace, work: Path) -> str:
    """Measure; the table."""
    heads = ["", "`-n 2`, wall s", "CPU s", "two workers, wall s", ""]
    return table.markdown(heads, list(rows(work, asked.rounds)))


if __name__ == "__main__":
    table.main("cluster", table.parser(__doc__, rounds=3), measured)
