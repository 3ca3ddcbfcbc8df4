"""What calls to workers cost, collected per thread.

The engine wraps a step in `measure()`, the client of the fork server reports every child to `charge`; between the
two, steps need not pass anything along.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from pipeline.action import Json


@dataclass(slots=True)
class Usage:
    """CPU seconds in sum, and the peak of resident bytes of the largest single process."""

    cpu: float = 0.0
    peak: int = 0


_current: ContextVar[Usage] = ContextVar("usage")


class measure:  # noqa: N801 - it reads as a function where it is used
    """Collect what all calls made by this thread inside the `with` block cost, whatever their worker.

    A shared stage is charged to the call that caused it. (Written out, because every action comes by here and a
    generator with `contextmanager` takes three times as long.)
    """

    __slots__ = ("_token", "_usage")

    def __enter__(self) -> Usage:
        self._usage = Usage()
        self._token = _current.set(self._usage)
        return self._usage

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def charge(cost: Mapping[str, Json]) -> None:
    """Count `{"cpu": seconds, "peak": bytes}`; a child that ended unseen has neither."""
    usage = _current.get(None)
    if usage is not None:
        usage.cpu += cost.get("cpu", 0.0)
        usage.peak = max(usage.peak, cost.get("peak", 0))
