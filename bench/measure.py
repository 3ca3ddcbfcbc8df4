"""What a command costs: wall time, CPU seconds and memory, for it and all its children. All of `bench/` measures here.

Machines are busy with other things, so nothing is compared that was not measured in turn in one run: `in_turn` runs
the contestants round by round, `ratio` compares round with round and takes the median. CPU seconds bear a busy machine
best.
"""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

UNUSUAL = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Variables that people who use a build tool do not have set. Without .pyc files, Python compiles ours every time."""

ADOPT = 36
"""PR_SET_CHILD_SUBREAPER of prctl: what a command leaves behind, dying, becomes our child and can be counted."""

LEFT_BEHIND = 5.0
"""Seconds that a command's orphans get to end."""


class Cost(NamedTuple):
    """What it took.

    Attributes:
        wall: seconds by the clock.
        cpu: user and system seconds of the process and of all its children; on other systems than Linux, of those that
            were waited for.
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
    before = _children()
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**{name: os.environ[name] for name in os.environ if name not in UNUSUAL}, **(env or {})},
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
    usages = [usage, *_orphans(before)]
    return Cost(wall, sum(one.ru_utime + one.ru_stime for one in usages), max(one.ru_maxrss for one in usages) / 1024)


def _children() -> set[int]:
    """Our own children, those included that were adopted; nothing but on Linux."""
    if sys.platform != "linux":
        return set()
    ctypes.CDLL(None).prctl(ADOPT, 1, 0, 0, 0)
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return set(map(int, text.split()))


def _orphans(before: set[int]) -> Iterator[resource.struct_rusage]:
    """What was used by processes that a command has killed without waiting for them, as they end."""
    until = time.monotonic() + LEFT_BEHIND
    while (left := _children() - before) and time.monotonic() < until:
        for pid in left:
            ended, _, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                yield usage
        time.sleep(0.01)


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
