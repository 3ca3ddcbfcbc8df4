"""Keeps the jobs that run at one time within the machine's memory.

The engine passes every job through `Admission`, from doit's worker threads; what a job is expected to need comes from
its last run, or from its step. Nothing here measures or limits a process: a wrong expectation costs speed, or luck.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PHYSICAL_SHARE = 0.75
"""What we take of a machine that only tells how much memory it has, not how much is free (macOS)."""


class Admission:
    """Lets jobs in as long as the bytes that they should need fit in the total; one is always let in when none runs.

    Without a number of jobs there is no limit but memory.
    """

    def __init__(self, total: int, jobs: int | None = None) -> None:
        self._total = total
        self._jobs = jobs
        self._taken = 0
        self._running = 0
        self._changed = threading.Condition()

    def room(self) -> int:
        """Bytes that no running job is expected to need; none when more are running than fit."""
        return max(0, self._total - self._taken)

    @contextmanager
    def __call__(self, expected: int) -> Iterator[None]:
        """Wait until `expected` bytes fit beside the running jobs; hold them during the `with` block."""
        with self._changed:
            while self._running and (self._taken + expected > self._total or self._running == self._jobs):
                self._changed.wait()
            self._taken += expected
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= expected
                self._running -= 1
                self._changed.notify_all()


def processors() -> int:
    """How many jobs there are processors for: heavy work is done in child processes, one a thread of doit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process and its children may use now: what is free, or less where a control group says so.

    A container's limit is in `cgroups` (version 2), and `/proc/meminfo` ignores it.
    """
    return min([_free(proc), *_limits(proc, cgroups)])


def _free(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * PHYSICAL_SHARE)
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024  # "kB" there means KiB


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits of the group we are in and of all groups around it."""
    try:
        memberships = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    ours = next((line[3:] for line in memberships if line.startswith("0::")), None)
    if ours is None:
        return
    group = Path(ours)
    for place in (group, *group.parents):
        try:
            limit = (cgroups / place.relative_to("/") / "memory.max").read_text().strip()
        except (OSError, ValueError):
            continue
        if limit.isdecimal():  # or "max"
            yield int(limit)
