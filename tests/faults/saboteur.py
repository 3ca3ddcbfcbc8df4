"""What a dodo.py imports to be killed in the middle of writing its state: SABOTAGE is `PART:WHERE` (see `arm`).

Copied into a project; the kill is SIGKILL, to ourselves, with half of the bytes written.
"""

from __future__ import annotations

import io
import os
import signal
from typing import Any

write, open_, replace = os.write, open, os.replace


def arm() -> None:
    """Die while a file whose path has `PART` in it is written: the `WHERE`-th time (from 0); or when it is renamed."""
    part, _, where = os.environ.get("SABOTAGE", "").rpartition(":")
    if not part:
        return
    countdown = [int(where) if where.isdigit() else 0]

    def is_it(path: str) -> bool:
        if part not in path:
            return False
        countdown[0] -= 1
        return countdown[0] < 0

    def name_of(descriptor: int) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - what it says need not be a path
        except OSError:
            return ""

    def half_write(descriptor: int, data: Any) -> int:
        if where != "rename" and is_it(name_of(descriptor)):
            write(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data)

    class Half(io.FileIO):
        def write(self, data: Any) -> int:
            if where != "rename" and is_it(str(self.name)):
                super().write(bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return super().write(data)

    def half_open(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if isinstance(path, str) and part in path and mode == "wb":
            return Half(path, "w")
        return open_(path, mode, *more, **named)

    def last_rename(old: Any, new: Any) -> None:
        if where == "rename" and part in str(new):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(old, new)

    import builtins

    os.write, builtins.open, os.replace = half_write, half_open, last_rename  # type: ignore[assignment]
