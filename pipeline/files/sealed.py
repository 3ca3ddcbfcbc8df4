"""State files of ours, with a checksum in front: the no-op stamp, the stat cache, what programs said of themselves."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path

from . import read_file, write_atomic


def write_sealed(path: str | Path, body: bytes) -> None:
    """Write a state file with a checksum in front. Failing to is no error: it only costs time later."""
    with contextlib.suppress(OSError):
        write_atomic(path, zlib.crc32(body).to_bytes(4, "little") + body)


def read_sealed(path: str | Path) -> bytes | None:
    """The content of a state file; None where there is none, or it is damaged."""
    try:
        data = read_file(path)
    except OSError:
        return None
    return data[4:] if len(data) > 4 and int.from_bytes(data[:4], "little") == zlib.crc32(data[4:]) else None  # noqa: PLR2004 - the checksum
