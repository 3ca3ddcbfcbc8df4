"""What went wrong in a run, as text for its end: one cause once, however many tasks met it, in paths one can click.

The reporter collects failures here; the watchers show their headlines at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import SlipwayError

SHOWN = 6
"""Tasks named for one cause; of more than this only the number is said."""

LONGEST = 200
"""Characters of a headline; the end of the run has all of them."""


@dataclass(frozen=True)
class Failure:
    """Why a task failed.

    Attributes:
        cause: what is wrong, where, and what to do about it.
        log: the file with what the task's tools printed.
    """

    cause: str
    log: str | None = None

    @classmethod
    def of(cls, error: SlipwayError) -> Failure:
        """The failure that an error meant for users is."""
        return cls(error.cause, str(error.log) if error.log else None)


class Failures:
    """The failures of one run. Paths below `here`, the directory the user is in, are shown relative to it."""

    def __init__(self, here: str) -> None:
        self.here = here
        self._failed: dict[str, Failure] = {}
        self._blocked: dict[str, list[str]] = {}

    def add(self, name: str, failure: Failure) -> str:
        """Note a failure; return its headline, for the moment it happens."""
        self._failed[name] = failure
        line = shortened(failure.cause.strip(), self.here).partition("\n")[0]
        return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"

    def block(self, name: str, causes: list[str]) -> None:
        """Note a task that could not start because of others, which failed or are blocked themselves."""
        for cause in causes:
            self._blocked.setdefault(cause, []).append(name)

    def behind(self, name: str) -> str | None:
        """The task that failed and that this one waits for, or is; None where there is none."""
        return next((failed for failed in self._failed if name == failed or name in self._behind([failed])), None)

    def __bool__(self) -> bool:
        return bool(self._failed)

    def __iter__(self) -> Iterator[str]:
        """A paragraph for each cause, in the order they were met."""
        causes: dict[str, list[str]] = {}
        for name, failure in self._failed.items():
            causes.setdefault(failure.cause.strip(), []).append(name)
        for cause, names in causes.items():
            yield shortened("\n".join(self._paragraph(cause, names)), self.here)

    def _paragraph(self, cause: str, names: list[str]) -> Iterator[str]:
        shown = names if len(names) <= SHOWN else names[: SHOWN - 1]
        yield from (f"✗ {name}" for name in shown)
        if len(shown) < len(names):
            yield f"✗ and {len(names) - len(shown)} more, for the same reason"
        yield cause
        log = self._failed[names[0]].log
        if log is not None:
            yield f"  log: {log}"
        behind = len(self._behind(names))
        if behind:
            yield f"  {behind} more {'task waits' if behind == 1 else 'tasks wait'} for this"

    def _behind(self, names: list[str]) -> set[str]:
        """The tasks that wait for some that failed, directly or not."""
        found: set[str] = set()
        todo = list(names)
        while todo:
            waiting = set(self._blocked.get(todo.pop(), ())) - found
            found |= waiting
            todo += waiting
        return found


def shortened(message: str, here: str) -> str:
    """The message with absolute paths below the directory `here` made relative to it."""
    if here in {"", "/"}:
        return message
    # Not inside a longer path or a URL, where it only looks like this directory.
    return re.sub(rf"(?<![\w./:-]){re.escape(here)}/", "", message)
