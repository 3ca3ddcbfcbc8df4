"""`scale_steps.join`, with a diary of what ran, and places where a test can stop it (see `fault_graph`)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from scale_steps import join

from pipeline.action import Job

Params = join.Params


def run(job: Job[Params]) -> None:
    """Do the work; stop after half of it while `hold/SUBJECT` is there, and at the end for `hold/SUBJECT.done`."""
    subject = job.params.name
    note("begin", subject)
    if Path("hold", subject).exists():
        half = job.out / subject
        half.write_text("half of it")
        wait(subject)
        half.unlink()
    time.sleep(float(os.environ.get("EACH_TAKES", "0")))
    join.run(job)
    wait(f"{subject}.done")
    note("end", subject)


def wait(name: str) -> None:
    """Wait while `hold/NAME` is there, with `held/NAME` to say so."""
    hold, held = Path("hold", name), Path("held", name)
    if hold.exists():
        held.parent.mkdir(exist_ok=True)
        held.touch()
        while hold.exists():
            time.sleep(0.005)
        held.unlink(missing_ok=True)


def note(what: str, subject: str) -> None:
    with open("diary", "ab", buffering=0) as file:  # noqa: PTH123 - one write, so that lines stay whole
        file.write(f"{what} {subject}\n".encode())
