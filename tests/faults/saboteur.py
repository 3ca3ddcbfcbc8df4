"""What a dodo.py imports to be killed in the middle of writing its state: SABOTAGE is `PART:WHERE` (see `arm`).

Copied into a project. The kill is SIGKILL, to ourselves.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

rename = Path.replace


def arm() -> None:
    """Die while a file whose path has `PART` in it is replaced.

    `WHERE` is a number, 0 for the first such file: it is half written then. Or it is `rename`: the first such file is
    written, and not renamed yet.
    """
    part, _, where = os.environ.get("SABOTAGE", "").rpartition(":")
    if not part:
        return
    countdown = [0 if where == "rename" else int(where)]

    def last_rename(old: Path, new: str | Path) -> Path:
        if part in str(new):
            countdown[0] -= 1
            if countdown[0] < 0:
                if where != "rename":
                    os.truncate(old, old.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        return rename(old, new)

    Path.replace = last_rename  # type: ignore[method-assign]
