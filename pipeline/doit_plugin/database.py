"""doit's database: for our tasks a view of the engine's verdicts, so that there is no second truth to lose.

doit finds it through the entry point `doit.BACKEND` and loads it for every command, in any project; so nothing is
imported until a method is called. For our tasks nothing is written here: a run writes the workspace when an action
ends. What a project has of other tasks in its dodo.py is kept as doit keeps it, in a file of JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doit.dependency import JsonDB

    from pipeline.engine.engine import Engine

    from .session import Session


class WorkspaceDB:
    """The protocol of doit's DB backends over the session's engine. Keys are doit's own (`ignore:`, file names, …)."""

    desc = "Slipway's workspace (for projects whose dodo.py is Slipway's)"

    def __init__(self, name: str, codec: object, *, module_name: str | None = None) -> None:  # noqa: ARG002 - doit's
        self.name = name
        self._codec = codec
        self._changed = False

    def get(self, task_id: str, dependency: str) -> object:
        """What doit remembers of a task: whether it is ignored, and for each file it reads the engine's verdict."""
        if not self._is_ours(task_id):
            return self._others.get(task_id, dependency)
        engine = self._engine
        if dependency == "ignore:":
            return "1" if engine.workspace.ignored(task_id) else None
        if dependency in {"_values_:", "result:", "deps:", "checker:"} or task_id in self._groups:
            return None
        return "fresh" if engine.status(task_id).fresh else "stale"

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Of our tasks only `doit ignore` has something to say that the workspace does not know yet."""
        if not self._is_ours(task_id):
            self._changed = True
            self._others.set(task_id, dependency, value)
        elif dependency == "ignore:":
            with _told():
                self._engine.workspace.ignore(task_id)

    def in_(self, task_id: str) -> bool:
        """Whether the task was ever built here."""
        return self._engine.workspace.get(task_id) is not None if self._is_ours(task_id) else self._others.in_(task_id)

    def remove(self, task_id: str) -> None:
        """What `doit forget` calls: the next run does the work again.

        A run comes here too, with every task that failed or waited for one that did: ours keep what they have.
        """
        if not self._is_ours(task_id):
            self._changed = True
            self._others.remove(task_id)
        elif not self._session.running:
            with _told():
                self._engine.workspace.forget(task_id)

    def remove_all(self) -> None:
        """What `doit forget --all` calls."""
        self._changed = True
        self._others.remove_all()
        engine = self._engine
        with _told():
            for name in list(engine.workspace.names()):
                engine.workspace.forget(name)

    def dump(self) -> None:
        """Doit is done: write what it knows of other tasks than ours."""
        if not self._changed:
            return
        from pipeline.errors import StoreError  # noqa: PLC0415 - see the module's paragraph
        from pipeline.files import temporary_in  # noqa: PLC0415

        with _told():
            try:
                os.makedirs(os.path.dirname(self.name) or ".", exist_ok=True)
                self._others.name = temporary_in(os.path.dirname(self.name) or ".")
                self._others.dump()
                os.replace(self._others.name, self.name)
            except OSError as error:
                hint = "make it writable, or name another file as `dep_file` in DOIT_CONFIG"
                raise StoreError(f"cannot be written: {error.strerror}", where=self.name, hint=hint) from error

    @cached_property
    def _others(self) -> JsonDB:
        """The tasks that are not ours. A damaged file is as good as none: its tasks run again."""
        from doit.dependency import DatabaseException, JsonDB  # noqa: PLC0415 - see the module's paragraph

        try:
            return JsonDB(self.name, self._codec)
        except DatabaseException:
            with suppress(OSError):
                os.unlink(self.name)
            return JsonDB(self.name, self._codec)

    def _is_ours(self, task_id: str) -> bool:
        return task_id in self._names or task_id in self._groups

    @cached_property
    def _session(self) -> Session:
        from pipeline.doit_plugin.session import current  # noqa: PLC0415 - see the module's paragraph

        return current()

    @property
    def _engine(self) -> Engine:
        return self._session.engine

    @cached_property
    def _names(self) -> frozenset[str]:
        """The actions that doit has been told of."""
        return frozenset(self._engine.actions)

    @cached_property
    def _groups(self) -> frozenset[str]:
        """The tasks that only have others below them: `compile`."""
        return frozenset(action.step for action in self._engine.actions.values())


@contextmanager
def _told() -> Iterator[None]:
    """An error meant for users becomes one whose text doit prints, without a traceback."""
    from doit.exceptions import InvalidTask  # noqa: PLC0415 - see the module's paragraph

    from pipeline.errors import SlipwayError  # noqa: PLC0415

    try:
        yield
    except SlipwayError as error:
        raise InvalidTask(str(error)) from error
