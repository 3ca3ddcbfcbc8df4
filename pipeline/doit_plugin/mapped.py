"""Whole files of ours as memory, for those who read megabytes to find a few lines.

To read a file is to copy it into memory that nobody has touched yet, which takes longer than all that is done with it
afterwards. The files that come here are only ever replaced, never shortened, so what is mapped stays what it was.
"""

from __future__ import annotations

import os
from contextlib import suppress


def content(path: str) -> memoryview | None:
    """What is in a file, for as long as somebody keeps it; None where it is missing, empty or cannot be read."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size:
                import mmap  # noqa: PLC0415 - in a fresh tree there is nothing to read

                return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)
    return None
