"""A line an event: for CI logs, pipes and files. Progress of a long task is said at most every few seconds."""

from __future__ import annotations

import time

from pipeline.engine.status import Outcome

from .events import BrokenPipeSafeStream, Counts, Watcher, amount

EVERY = 5.0
"""Seconds between two progress lines of one task."""


class Plain(Watcher):
    """See `events.Watcher`."""

    def __init__(self, stream: BrokenPipeSafeStream, counts: Counts) -> None:
        self._stream = stream
        self._counts = counts
        self._said: dict[str, float] = {}

    def started(self, name: str) -> None:
        """Start the clock of the first progress line."""
        self._said[name] = time.monotonic()

    def progress(self, name: str, done: float, total: float | None, unit: str) -> None:
        """Say how far a task is, now and then."""
        now = time.monotonic()
        if now - self._said.get(name, now) >= EVERY:
            self._said[name] = now
            self._line(f"{name}: {amount(done, total, unit)}")

    def finished(self, outcome: Outcome) -> None:
        """One line."""
        self._said.pop(outcome.name, None)
        self._line(f"{outcome.name}: {outcome}")

    def failed(self, name: str, headline: str) -> None:
        """One line."""
        self._line(f"{name}: FAILED: {headline}")

    def note(self, text: str) -> None:
        """One line, without the counter."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _line(self, text: str) -> None:
        width = len(str(self._counts.total))
        self.note(f"[{self._counts.done:>{width}}/{self._counts.total}] {text}")
