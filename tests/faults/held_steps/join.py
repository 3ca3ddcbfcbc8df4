"""`scale_steps.join`, with a diary of what ran, and places where a test can stop it (see `fault_graph`)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from scale_steps import join

from pipeline.action import Job


def run(job: Job) -> None:
    """Do the work; while `hold/SUBJECT` is there, half of the output is written and the other half has to wait."""
    subject = job.params["line"].split()[0]
    note("begin", subject)
    hold, target = Path("hold", subject), job.out / job.params["writes"]
    if hold.exists():
        join.run(job)
        target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
        Path("held").mkdir(exist_ok=True)
        Path("held", subject).touch()
        while hold.exists():
            time.sleep(0.005)
        Path("held", subject).unlink()
    time.sleep(float(os.environ.get("EACH_TAKES", "0")))
    join.run(job)
    note("end", subject)


def note(what: str, subject: str) -> None:
    with open("diary", "ab", buffering=0) as file:  # noqa: PTH123 - one write, so that lines stay whole
        file.write(f"{what} {subject}\n".encode())
