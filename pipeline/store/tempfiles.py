# ruff: noqa: PTH108, PTH208
# Paths are strings in here, as in all of the store.
"""Temporary files that nobody is going to rename any more, because the process that made them was killed.

Their names carry its number: `part/PID.N` in a store, `NAME.PID` beside a file that is replaced as a whole. The session
sweeps when a run begins, `gc` when it collects. Files that are not old stay: their process may be on another machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import time

STALE = 3600
"""Seconds after which such a file is litter."""

_PART = re.compile(r"(\d+)\.\d+\Z").match
_BESIDE = re.compile(r".*[^\d.].*\.(\d+)\Z").match


def sweep(*folders: str) -> None:
    """Remove what killed processes have left in these directories. Failing to is no error."""
    for folder in folders:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                made = _PART(name) or _BESIDE(name)
                with contextlib.suppress(OSError):
                    path = f"{folder}/{name}"
                    if made and os.lstat(path).st_mtime < time.time() - STALE and not _is_alive(made[1]):
                        os.unlink(path)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
