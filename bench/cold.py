"""The cold default matrix with two workers, beside one fresh process a cell and the compilers' own CPU time.

    python bench/cold.py                       # the default matrix, and four Apple slices of one model; ten minutes
    python bench/cold.py --write               # puts the table into docs/explanation/speed.md

What is compared:

* **Slipway**: `doit -n 2` on an empty store: every compile, archive, kit and proof. The weights are in the download
  cache.
* **one after the other**: a fresh Python for each cell that imports TVM and compiles, as a script of today does; it
  makes no archive and proves nothing.
* **pure compile CPU**: the CPU seconds of those processes without the import of TVM; half of it is the least that two
  processors need when nothing is shared.
* **four slices**: iphoneos, simulator and the two of Catalyst of one model, in one run; beside one of them, and beside
  the four one after the other. The import of TVM is taken off all of them.

Run it with the Python that has Slipway, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import table
from measure import Cost, median, run
from project import DOIT, project

SLICES = ("ios-arm64", "ios-sim-arm64", "catalyst-arm64", "catalyst-x86_64")

ALONE = """
import json, sys, time
from pathlib import Path
import tvm
from pipeline.compilers import relax
from pipeline.compilers.lowered import Asked
from pipeline.documents.codec import decode
imported = time.process_time()
job = json.loads(sys.argv[1])
if job is not None:
    out = Path(job["out"]); out.mkdir(parents=True)
    state = relax.lower(decode(Asked, job["lower"], "lower"))
    relax.codegen(state, triple=job["triple"], out=out)
"""
"""One cell in a Python of its own; without a cell, just what starting and importing cost."""


def cells(built: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """(subject, arguments of the compiler) of every cell of a project whose weights are there."""
    from pipeline.compilers.devices import HOST_BLIND
    from pipeline.documents.codec import encode
    from pipeline.files import hash_path
    from pipeline.matrix.expand import load

    for cell in load(built / "targets.yaml").cells:
        model, backend = cell.model, cell.backend
        weights = built / "build" / "weights" / model.model
        config = {path.name: str(path) for path in weights.glob("*config.json")} if model.weights else None
        source = (built / model.source.path).resolve()
        yield (
            cell.subject,
            {
                "lower": {
                    "model": encode(model.ref()),
                    "source": encode(model.source.ref()),
                    "reads": {"source": str(source), "files": {str(source): hash_path(source)}, "data": []},
                    "config": config,
                    "seen": [],
                    "device": dict(backend.device),
                    "triple": None if backend.device_kind in HOST_BLIND else backend.triple,
                    "metal_simdgroup": False,
                },
                "triple": backend.triple,
            },
        )


def alone(job: object, folder: Path) -> Cost:
    """One fresh process."""
    return run([sys.executable, "-c", ALONE, json.dumps(job)], folder, {"TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})


def matrix(work: Path, rounds: int, start: Cost) -> Iterator[list[str]]:
    """Rows about the whole matrix."""
    ours, sums = [], []
    for number in range(rounds):
        here = project(work / f"matrix{number}")
        ours.append(run([DOIT, "-n", "2"], here))
        each = [alone({**job, "out": str(here / "alone" / subject)}, here) for subject, job in cells(here)]
        sums.append(Cost(sum(c.wall for c in each), sum(c.cpu - start.cpu for c in each), max(c.rss for c in each)))
    doit, apart = median(ours), median(sums)
    yield ["`doit -n 2`, everything and its proofs", f"{doit.wall:.1f}", f"{doit.cpu:.1f}", ""]
    yield ["one fresh process a cell, in sequence", f"{apart.wall:.1f}", "", f"{apart.wall / doit.wall:.2f} × our time"]
    least = apart.cpu / 2
    yield ["their pure compile CPU ÷ 2", f"{least:.1f}", f"{apart.cpu:.1f}", f"ours is {doit.wall / least:.2f} × that"]


def slices(work: Path, model: str, rounds: int, start: Cost) -> Iterator[list[str]]:
    """Rows about four Apple slices of one model."""
    one, four, sequence = [], [], []
    for number in range(rounds):
        prepared = project(work / f"slices{number}")
        before = [
            f"toolchain:{'current'}",
            *([f"weights:{model.partition('-')[0]}"] if model.startswith("minilm") else []),
        ]
        run([DOIT, *before], prepared)
        single = work / f"single{number}"
        shutil.copytree(prepared, single, symlinks=True)
        four.append(run([DOIT, "-n", "2", *(f"compile:{model}@{name}" for name in SLICES)], prepared))
        one.append(run([DOIT, "-n", "2", f"compile:{model}@{SLICES[0]}"], single))
        jobs = [job for subject, job in cells(prepared) if subject in {f"{model}@{name}" for name in SLICES}]
        each = [alone({**job, "out": str(prepared / "alone" / str(i))}, prepared) for i, job in enumerate(jobs)]
        sequence.append(Cost(sum(c.wall - start.wall for c in each), sum(c.cpu - start.cpu for c in each), 0))
    single_, all_, each_ = median(one), median(four), median(sequence)
    yield [f"one slice of {model}", f"{single_.wall - start.wall:.1f}", f"{single_.cpu - start.cpu:.1f}", ""]
    cpu = (all_.cpu - start.cpu) / (single_.cpu - start.cpu)
    wall = (all_.wall - start.wall) / each_.wall
    yield [
        "four slices, `doit -n 2`",
        f"{all_.wall - start.wall:.1f}",
        f"{all_.cpu - start.cpu:.1f}",
        f"{cpu:.2f} × the CPU of one",
    ]
    yield ["four slices in sequence", f"{each_.wall:.1f}", f"{each_.cpu:.1f}", f"ours takes {wall:.2f} of that time"]


def measured(asked: argparse.Namespace, work: Path) -> str:
    """Measure; the table."""
    run([DOIT, "weights:minilm"], project(work / "warm"))  # the download cache, and every .pyc
    start = median([alone(None, work) for _ in range(3)])
    rows = [*matrix(work, asked.rounds, start), *slices(work, asked.model, asked.rounds, start)]
    return table.markdown(["", "wall s", "CPU s", ""], rows)


if __name__ == "__main__":
    options = table.parser(__doc__, rounds=3)
    options.add_argument("--model", default="decoder-q4f16_1", help="whose slices; default: %(default)s")
    table.main("cold", options, measured)
