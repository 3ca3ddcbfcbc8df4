"""Where a run says what it does, which may stop to listen in the middle (`doit | head`): the run goes on all the same.

The reporter has one, and lends it to the watcher.
"""

from __future__ import annotations

from typing import TextIO


class Outlet:
    """A text stream whose end is no error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_heard = True

    def write(self, text: str) -> None:
        """See `TextIO`."""
        if self._is_heard:
            try:
                self._stream.write(text)
            except OSError:
                self._is_heard = False

    def flush(self) -> None:
        """See `TextIO`."""
        if self._is_heard:
            try:
                self._stream.flush()
            except OSError:
                self._is_heard = False
