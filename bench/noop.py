"""A `doit` with nothing to do in the default matrix, beside `doit --version`: the least that doit itself takes.

    python bench/noop.py                       # builds the matrix once; three minutes
    python bench/noop.py --built build/there   # in a project that was built before
    python bench/noop.py --write               # puts the table into docs/explanation/speed.md

Run it with the Python that has Slipway.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import table
from measure import in_turn, median, ratio, run
from project import DOIT, frozen, project

ALLOWED = 1.3
"""Times `doit --version` that a run with nothing to do may take."""


def measured(asked: argparse.Namespace, work: Path) -> str:
    """Measure; the table."""
    env = frozen(work / "code")
    here = project(work / "project") if asked.built is None else asked.built
    for _ in range(3):  # to build it, to see that there is nothing left to do, and to be sure of that
        run([DOIT], here, env)
    costs = in_turn(
        {
            "`doit`, nothing to do": lambda _: run([DOIT], here, env),
            "`doit --version`": lambda _: run([DOIT, "--version"], here, env),
        },
        asked.rounds,
    )
    rows = [[name, f"{median(each).wall:.3f}", f"{median(each).cpu:.3f}"] for name, each in costs.items()]
    times = ratio(*costs.values())
    if times.cpu > ALLOWED:
        print(f"MORE THAN {ALLOWED:g} times", file=sys.stderr)
    return (
        f"{table.markdown(['', 'wall s', 'CPU s'], rows)}\n\n"
        f"Nothing to do takes {times.cpu:.2f} × the CPU and {times.wall:.2f} × the time of `doit --version`: "
        f"medians of {asked.rounds} rounds."
    )


if __name__ == "__main__":
    options = table.parser(__doc__, rounds=15)
    options.add_argument("--built", type=Path, help="a project to measure in; default: a new one")
    table.main("noop", options, measured)
