# ruff: noqa: PTH105, PTH108, PTH123
# Paths are strings in here, as in all of the store.
"""How far a journal had been read, and what was known by then: so that the next process reads only what came after.

`journal` puts one beside a long file when it is closed. Whether the file still begins as it did then is seen from the
bytes before that place, for a journal only grows; a bookmark that does not fit, that is damaged, or that another Python
wrote is as good as none. What the journal's lines mean is not known here.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
import zlib
from typing import Any

from pipeline.doit_plugin.mapped import content

FORMAT = 2
"""Raised when a journal has another state to write down."""

BEFORE = 4096
"""Bytes before the place that have to be as they were. Lines carry keys and times, so no two journals agree in them."""


def put(path: str, journal: int, end: int, state: Any) -> None:
    """Write a bookmark. Failing to is no error: it only costs time.

    Args:
        path: where.
        journal: descriptor of the journal.
        end: the first byte that has not been read.
        state: what is known so far; of what `marshal` can carry.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        body = marshal.dumps((end, _mark(journal, end), state))
        with open(temporary, "wb") as file:
            file.writelines([_seal(body), body])
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def get(path: str, journal: int, size: int) -> tuple[int, Any] | None:
    """The place and the state of a bookmark that fits the journal, whose size is given; None where there is none."""
    data = content(path)
    if data is None:
        return None
    body = data[4:]
    if data[:4] != _seal(body):
        return None
    try:
        end, mark, state = marshal.loads(body)  # noqa: S302 - our own file, and its checksum is right
        return (end, state) if end <= size and mark == _mark(journal, end) else None
    except OSError:
        return None


def _mark(journal: int, end: int) -> int:
    start = max(0, end - BEFORE)
    return zlib.crc32(os.pread(journal, end - start, start))


def _seal(body: bytes | memoryview) -> bytes:
    return zlib.crc32(body, zlib.crc32(sys.version.encode(), FORMAT)).to_bytes(4, "little")
