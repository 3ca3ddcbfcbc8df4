"""The board on a terminal: what is running, how far, how many are done, how long it may still take (rich draws it)."""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from pipeline.engine.status import Outcome

from .events import Counts, Watcher, amount


class Live(Watcher):
    """See `events.Watcher`. `expected` maps a task to the seconds it took last time, for the estimate."""

    def __init__(self, stream: TextIO, counts: Counts, expected: dict[str, float]) -> None:
        self._console = Console(file=stream)
        self._expected = expected
        self._counts = counts
        self._running: dict[str, tuple[float, str]] = {}
        self._seen: set[str] = set()
        self._live = RichLive(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def begin(self) -> None:
        """Put the board up."""
        self._live.start()

    def started(self, name: str) -> None:
        """A row more."""
        self._running[name] = (time.monotonic(), "")

    def progress(self, name: str, done: float, total: float | None, unit: str) -> None:
        """Fill in how far the row is."""
        began, _ = self._running.get(name, (time.monotonic(), ""))
        self._running[name] = (began, amount(done, total, unit))

    def finished(self, outcome: Outcome) -> None:
        """A row less, and a line above the board."""
        self._leave(outcome.name)
        self._console.print(Text.assemble(("✓ ", "green"), outcome.name, (f"  {outcome}", "dim")))

    def failed(self, name: str, headline: str) -> None:
        """A row less, and a line above the board."""
        self._leave(name)
        self._console.print(Text.assemble(("✗ ", "red"), (name, "bold"), f"  {headline}"))

    def note(self, text: str) -> None:
        """A line above the board."""
        self._console.print(Text(text, style="dim"))

    def end(self) -> None:
        """Take the board down; what was printed above it stays."""
        self._live.stop()

    def _leave(self, name: str) -> None:
        self._running.pop(name, None)
        self._seen.add(name)

    def _draw(self) -> Group:
        counts, now = self._counts, time.monotonic()
        rows = Table.grid(padding=(0, 2))
        for name, (began, how_far) in list(self._running.items()):
            rows.add_row(Text("▸", style="cyan"), name, Text(f"{now - began:.0f} s", style="dim"), how_far)
        head = f"{counts.done}/{counts.total}  fresh {counts.fresh}  built {counts.built}  restored {counts.restored}"
        if counts.failed:
            head += f"  failed {counts.failed}"
        left = sum(seconds for name, seconds in self._expected.items() if name not in self._seen)
        if left >= 1:
            head += f"  about {left / max(1, len(self._running)):.0f} s left"
        return Group(Text(head, style="bold"), rows)
