"""The stream that a run reports to; the reporter makes one, and lends it to the watcher."""

from __future__ import annotations

from typing import TextIO


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
