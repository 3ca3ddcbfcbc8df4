"""CPU time and memory of calls to workers, collected per thread.

The engine wraps a step in `measure()`, and `client` reports every child to `charge`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .wire import Cost


class Usage:
    """CPU seconds in sum, and the peak of resident bytes of the largest single process."""

    __slots__ = "cpu", "peak"

    def __init__(self) -> None:
        self.cpu = 0.0
        self.peak = 0


class _Thread(threading.local):
    usage: Usage | None = None


_current = _Thread()


@contextmanager
def measure() -> Iterator[Usage]:
    """Collect what all calls made by this thread inside the `with` block cost, whatever their worker.

    A shared stage is charged to the call that caused it.
    """
    before = _current.usage
    _current.usage = usage = Usage()
    try:
        yield usage
    finally:
        _current.usage = before


def charge(cost: Cost) -> None:
    """Count what a child has cost."""
    usage = _current.usage
    if usage is not None:
        usage.cpu += cost.cpu
        usage.peak = max(usage.peak, cost.peak)
