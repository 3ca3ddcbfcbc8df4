"""doit's database, without a database: a view of the engine's verdicts, so that there is no second truth to lose.

doit finds it through the entry point `doit.BACKEND` and loads it for every command, in any project; so nothing is
imported until a method is called. Nothing is written here: a run writes the ledger the moment each action ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class LedgerDB:
    """The protocol of doit's DB backends over the session's engine. Keys are doit's own (`ignore:`, file names, …)."""

    desc = "Slipway's ledger (for projects whose dodo.py is Slipway's)"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:  # noqa: ARG002 - doit's
        self.name = name

    def get(self, task_id: str, dependency: str) -> Any:
        """What doit remembers of a task: whether it is ignored, and for each file it reads the engine's verdict."""
        engine = _engine()
        if dependency == "ignore:":
            return "1" if engine.ledger.ignored(task_id) else None
        if dependency in {"_values_:", "result:", "deps:", "checker:"} or task_id not in engine.actions:
            return None
        return "fresh" if engine.verdict(task_id).fresh else "stale"

    def set(self, task_id: str, dependency: str, value: Any) -> None:  # noqa: ARG002 - doit's signature
        """Only `doit ignore` has something to say that the ledger does not know yet."""
        if dependency == "ignore:":
            with _told():
                _engine().ledger.ignore(task_id)

    def in_(self, task_id: str) -> bool:
        """Whether the task was ever built here."""
        return _engine().ledger.get(task_id) is not None

    def remove(self, task_id: str) -> None:
        """What `doit forget` calls: the next run does the work again.

        A run comes here too, with every task that failed or waited for one that did: they keep what they have.
        """
        from .session import current  # noqa: PLC0415 - see the module's paragraph

        session = current()
        if not session.running:
            with _told():
                session.engine.ledger.forget(task_id)

    def remove_all(self) -> None:
        """What `doit forget --all` calls."""
        engine = _engine()
        with _told():
            for name in list(engine.ledger.names()):
                engine.ledger.forget(name)

    def dump(self) -> None:
        """Doit is done: nothing is waiting to be written."""


@contextmanager
def _told() -> Iterator[None]:
    """An error meant for users becomes one whose text doit prints, without a traceback."""
    from doit.exceptions import InvalidTask  # noqa: PLC0415 - see the module's paragraph

    from .errors import SlipwayError  # noqa: PLC0415

    try:
        yield
    except SlipwayError as error:
        raise InvalidTask(str(error)) from None


def _engine() -> Any:
    from .session import current  # noqa: PLC0415 - see the module's paragraph

    return current().engine
