"""Directories that outlive a job: what a tool keeps so that its next run has less to do.

They lie in `build/` beside the logs, are no output of anything, and may be deleted at any time: that costs time only.
A step that uses one must give the same outputs whatever is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.action import Job


def kept(job: Job[Any], *names: str) -> Path:
    """The directory `build/<names>`, made where it is not there."""
    folder = job.log.absolute().parent.parent.joinpath(*names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
