"""What can be watched of a run: the seam between doit's reporter and the two ways of showing it."""

from __future__ import annotations

from typing import TextIO

from pipeline.engine.status import Outcome


class Counts:
    """Tasks by what became of them. `total` is all that the run selected, `own` those of the user's that ran."""

    __slots__ = "built", "failed", "fresh", "ignored", "own", "restored", "total"

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.fresh = self.built = self.restored = self.failed = self.ignored = self.own = 0

    @property
    def done(self) -> int:
        """Tasks that need no more attention."""
        return self.fresh + self.built + self.restored + self.failed + self.own


class Watcher:
    """Shows a run, whose counts the reporter keeps up to date. Methods may be called from any thread, one at a time."""

    def begin(self) -> None:
        """The run starts."""

    def started(self, name: str) -> None:
        """A task is being worked on."""

    def progress(self, name: str, done: float, total: float | None, unit: str) -> None:
        """A task is so far."""

    def finished(self, outcome: Outcome) -> None:
        """A task's outputs are in place."""

    def failed(self, name: str, headline: str) -> None:
        """A task failed; the whole story comes at the end of the run."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def end(self) -> None:
        """No more events."""


class BrokenPipeSafeStream:
    """A text stream whose reader may leave in the middle (`doit | head`): the run goes on all the same."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._has_reader = True

    def write(self, text: str) -> None:
        """See `TextIO`."""
        if self._has_reader:
            try:
                self._stream.write(text)
            except OSError:
                self._has_reader = False

    def flush(self) -> None:
        """See `TextIO`."""
        if self._has_reader:
            try:
                self._stream.flush()
            except OSError:
                self._has_reader = False


def size(count: float) -> str:
    """A number of bytes as text: 1.5 MB. Decimal, as download sizes are."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - decimal units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def amount(done: float, total: float | None, unit: str) -> str:
    """Progress as text: `33.0 of 83.5 MB`, `3 of 8 files`."""
    if unit == "bytes":
        return f"{size(done)} of {size(total)}" if total else size(done)
    if total == 1:
        unit = f"{unit[:-3]}y" if unit.endswith("ies") else unit.removesuffix("s")
    return f"{done:g} of {total:g} {unit}" if total else f"{done:g} {unit}"
