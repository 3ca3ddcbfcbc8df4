"""Writes down together what many quick actions have done, where to write it for each would take longer than they do.

`runner` has one for a run, the engine asks it. An action that took longer than `QUICK` is written down before it counts
as done. What quicker ones did, one after the other, is written at most `WINDOW` after the first of them: a kill -9
costs that much work, and no more. What is written, and where, is not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

QUICK = 0.001
"""Seconds up to which an action counts as quick."""

WINDOW = 0.005
"""Seconds for which what was done may wait to be written down."""


class Burst:
    """See the module's paragraph.

    Args:
        write_down: writes whatever has collected. May be called from any thread, while others collect more.
        window: see `WINDOW`; longer where somebody writes down by himself, and may only be held up.
    """

    def __init__(self, write_down: Callable[[], None], window: float = WINDOW) -> None:
        self._write_down = write_down
        self._window = window
        self._some = threading.Event()
        self._end = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def takes(self, seconds: float) -> bool:
        """Whether what took so long may be written down later: call `soon` when there is something to write.

        Raises:
            Exception: what could not be written down the last time, so that no more is begun.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return seconds <= QUICK

    def soon(self) -> None:
        """There is something to be written down."""
        if not self._some.is_set():
            self._some.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="burst", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Write down what is left.

        Raises:
            Exception: what could not be written down.
        """
        self._end.set()
        self._some.set()
        if self._thread is not None:
            self._thread.join()
        self._write_down()

    def _work(self) -> None:
        while not self._end.is_set():
            self._some.wait()
            self._end.wait(self._window)
            self._some.clear()  # what comes from now on may be too late for this time
            try:
                self._write_down()
            except Exception as error:  # noqa: BLE001 - whoever does more has to know it
                self._error = error
