"""What a command costs: wall time, CPU seconds and memory, for it and all its children. All of `bench/` measures here.

Machines are busy with other things, so nothing is compared that was not measured in turn in one run: `in_turn` runs
the contestants round by round, `ratio` compares round with round and takes the median. CPU seconds bear a busy machine
best.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """What it took.

    Attributes:
        wall: seconds by the clock.
        cpu: user and system seconds of the process and of all children it waited for.
        rss: MiB of resident memory of the largest of them. Linux counts from what this process has (some 11 MiB).
    """

    wall: float
    cpu: float
    rss: float


class Failed(Exception):
    """A contestant did not do its work."""


def run(command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end.

    Args:
        command: program and arguments.
        folder: where to run it.
        env: changes to the environment.

    Raises:
        Failed: with the last lines of what it said.
    """
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            tail = said.read().decode(errors="replace").strip().splitlines()[-8:]
            raise Failed(f"{command[0]} ended with status {process.returncode} in {folder}:\n" + "\n".join(tail))
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turn(contestants: Mapping[str, Callable[[int], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Let each contestant run once a round, each round beginning with another; each is told the number of the round."""
    costs: dict[str, list[Cost]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            costs[name].append(contestants[name](number))
    return costs


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure by itself."""
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def ratio(ours: Sequence[Cost], theirs: Sequence[Cost]) -> Cost:
    """Ours by theirs: the medians of the ratios of the rounds."""
    rounds = [[a / b for a, b in zip(one, other, strict=True)] for one, other in zip(ours, theirs, strict=False)]
    return Cost(*map(statistics.median, zip(*rounds, strict=True)))
