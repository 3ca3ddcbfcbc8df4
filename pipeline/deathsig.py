"""Parent death signal: ties the life of a forked process to that of its parent.

The worker's server calls it in every child, `runners.program` in what it starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded when this is imported, and not after a fork that has other things to do


def set_parent_death_signal(parent: int) -> None:
    """Linux: have the kernel end this process when its parent ends, however that ends. Elsewhere nothing happens.

    Args:
        parent: the process that this one was forked from.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), signal.SIGKILL)
