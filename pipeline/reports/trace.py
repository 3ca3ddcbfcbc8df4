"""The timings of a run: what was worked on from when to when. `doit profile` makes figures and a Chrome trace of them.

The reporter notes the events and has them written to `build/last-run.json` when something ran. Nothing is decided by
that file: it may be deleted, and one that is damaged counts as none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from pipeline.documents import codec
from pipeline.errors import FormatError
from pipeline.files import write_atomic

FORMAT = 2
PLACE = "build/last-run.json"
"""Where the timings lie, relative to the project's root."""


class Span(NamedTuple):
    """One task being worked on, from `start` to `end` (unix seconds). `how`: see `engine.status.Outcome`; or failed.

    `host` is the machine of a cluster that did it.
    """

    name: str
    how: str
    start: float
    end: float
    host: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.end - self.start)


@dataclass(frozen=True)
class Timings:
    """One run.

    Attributes:
        start: when it began, unix seconds.
        spans: the tasks that were worked on, in the order they ended.
    """

    format: int
    start: float
    end: float
    spans: tuple[Span, ...]


class Trace:
    """Collects the spans of the run in progress. Calls come one at a time."""

    def __init__(self) -> None:
        self._start = time.time()
        self._running: dict[str, float] = {}
        self._spans: list[Span] = []

    def started(self, name: str) -> None:
        """A task is being worked on."""
        self._running[name] = time.time()

    def since(self, name: str) -> float:
        """Seconds that a task has been worked on."""
        now = time.time()
        return max(0.0, now - self._running.get(name, now))

    def ended(self, name: str, how: str, seconds: float | None = None, host: str = "") -> None:
        """A task is done, or has failed. `seconds` is how long it took, where that is known better than here."""
        now = time.time()
        start = self._running.pop(name, now)
        if host and seconds is not None:  # it waited here for its turn there
            start = max(start, now - seconds)
        self._spans.append(Span(name, how, start, now if seconds is None else min(now, start + seconds), host))

    def save(self, root: Path) -> None:
        """Write the timings below the root, when anything was worked on. Failing to is no error."""
        if not self._spans:
            return
        document = Timings(FORMAT, self._start, time.time(), tuple(self._spans))
        with suppress(OSError):
            write_atomic(root / PLACE, json.dumps(codec.encode(document)))


def load(root: Path) -> Timings | None:
    """The timings of the last run that did anything; None where there are none, or none that can be read."""
    try:
        found = codec.load(Timings, root / PLACE)
    except (FormatError, OSError, OverflowError):
        return None
    return found if found.format == FORMAT else None


def lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans side by side: as few lanes as there were tasks at a time, no two in a lane overlapping."""
    found: list[list[Span]] = []
    for span in sorted(spans, key=lambda s: (s.start, s.end, s.name)):
        lane = next((lane for lane in found if lane[-1].end <= span.start), None)
        if lane is None:
            found.append(lane := [])
        lane.append(span)
    return found


def critical_path(spans: Iterable[Span], upstream: Mapping[str, Iterable[str]]) -> list[Span]:
    """The chain of tasks, each waiting for the one before, that took longest: no number of processors beats it.

    Tasks without a span cost nothing.
    """
    by_name = {span.name: span for span in spans}
    length: dict[str, float] = {}
    longest: dict[str, str | None] = {}
    for name in TopologicalSorter({**dict.fromkeys(by_name, ()), **upstream}).static_order():
        before = max(upstream.get(name, ()), key=length.__getitem__, default=None)
        own = by_name[name].seconds if name in by_name else 0.0
        length[name], longest[name] = own + (0.0 if before is None else length[before]), before
    end = max(sorted(by_name), key=length.__getitem__, default=None)
    path: list[Span] = []
    while end is not None:
        if end in by_name:
            path.append(by_name[end])
        end = longest[end]
    return path[::-1]
