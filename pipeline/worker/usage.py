"""CPU time and memory of calls to workers, collected per thread.

The engine wraps a step in `measure()`, and `client` reports every child to `charge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from .wire import Cost


@dataclass
class Usage:
    """CPU seconds in sum, and the peak of resident bytes of the largest single process."""

    cpu: float = 0.0
    peak: int = 0


_current: ContextVar[Usage | None] = ContextVar("usage", default=None)


@contextmanager
def measure() -> Iterator[Usage]:
    """Collect what all calls made by this thread inside the `with` block cost, whatever their worker.

    A shared stage is charged to the call that caused it.
    """
    usage = Usage()
    token = _current.set(usage)
    try:
        yield usage
    finally:
        _current.reset(token)


def charge(cost: Cost) -> None:
    """Count what a child has cost."""
    usage = _current.get()
    if usage is not None:
        usage.cpu += cost.cpu
        usage.peak = max(usage.peak, cost.peak)
