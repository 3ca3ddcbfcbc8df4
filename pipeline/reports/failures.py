"""What went wrong in a run, as text for its end: one cause once, however many tasks met it, in paths one can click.

The reporter collects failures here; the watchers say their headlines at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SHOWN = 6
"""Tasks named for one cause; of more than this only the number is said."""

LONGEST = 200
"""Characters of a headline; the end of the run has all of them."""


class Failures:
    """The failures of one run.

    Attributes:
        here: the directory the user is in; paths below it are shown relative to it.
        messages: task -> what is wrong.
    """

    def __init__(self, here: str) -> None:
        self.here = here
        self.messages: dict[str, str] = {}
        self._causes: dict[str, list[str]] = {}
        self._blocked: dict[str, list[str]] = {}

    def add(self, name: str, message: str, cause: str | None = None) -> str:
        """Note a failure; return its headline, for the moment it happens.

        Args:
            name: the task.
            message: all that is said of it.
            cause: what other tasks that failed alike share with it; the message, where left out.
        """
        self.messages[name] = shortened(message.strip(), self.here)
        self._causes.setdefault(message if cause is None else cause, []).append(name)
        line = self.messages[name].partition("\n")[0]
        return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"

    def block(self, name: str, causes: list[str]) -> None:
        """Note a task that could not start because of others, which failed or are blocked themselves."""
        for cause in causes:
            self._blocked.setdefault(cause, []).append(name)

    def __bool__(self) -> bool:
        return bool(self.messages)

    def __iter__(self) -> Iterator[str]:
        """A paragraph for each cause, in the order they were met."""
        for names in self._causes.values():
            shown = names if len(names) <= SHOWN else names[: SHOWN - 1]
            lines = [f"✗ {name}" for name in shown]
            if len(shown) < len(names):
                lines.append(f"✗ and {len(names) - len(shown)} more, for the same reason")
            lines.append(self.messages[names[0]])
            behind = len(self._behind(names))
            if behind:
                lines.append(f"  {behind} more {'task waits' if behind == 1 else 'tasks wait'} for this")
            yield "\n".join(lines)

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
