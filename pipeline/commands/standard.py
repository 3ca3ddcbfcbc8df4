"""doit's own commands, without the tracebacks that a slip on their command line would give.

Plugins of these names replace doit's in every project of this Python, and do otherwise just what doit's do.
"""

from __future__ import annotations

import dbm
from typing import Any

from doit.action import CmdAction
from doit.cmd_clean import Clean as DoitClean
from doit.cmd_dumpdb import DumpDB as DoitDumpDB
from doit.cmd_forget import Forget as DoitForget
from doit.cmd_ignore import Ignore as DoitIgnore
from doit.cmd_info import Info as DoitInfo
from doit.cmd_list import List as DoitList
from doit.cmd_strace import Strace as DoitStrace
from doit.exceptions import InvalidCommand

from .friendly import Friendly, unknown


class Clean(Friendly, DoitClean):  # type: ignore[misc]
    """See doit."""

    name = "clean"


class Forget(Friendly, DoitForget):  # type: ignore[misc]
    """See doit."""

    name = "forget"


class Ignore(Friendly, DoitIgnore):  # type: ignore[misc]
    """See doit."""

    name = "ignore"


class List(Friendly, DoitList):  # type: ignore[misc]
    """See doit."""

    name = "list"


class Info(Friendly, DoitInfo):  # type: ignore[misc]
    """See doit."""

    name = "info"

    def _execute(self, pos_args: list[str], hide_status: bool = False) -> Any:
        names = {task.name for task in self.task_list}
        if len(pos_args) == 1 and pos_args[0] not in names:
            raise InvalidCommand(unknown(pos_args[0], self))
        return super()._execute(pos_args, hide_status)


class DumpDB(Friendly, DoitDumpDB):  # type: ignore[misc]
    """See doit."""

    name = "dumpdb"

    def execute(self, params: Any, args: list[str]) -> Any:
        """Print doit's database. What doit calls."""
        try:
            return super().execute(params, args)
        except dbm.error as error:
            raise InvalidCommand(
                "there is no database of doit's here\n  hint: doit explain TASK prints what Slipway remembers of a task"
            ) from error


class Strace(Friendly, DoitStrace):  # type: ignore[misc]
    """See doit."""

    name = "strace"

    def _execute(self, show_all: bool) -> Any:
        selected = next((task for task in self.task_list if task.name == self.sel_tasks[0]), None)
        if selected is not None and not any(isinstance(action, CmdAction) for action in selected.actions):
            raise InvalidCommand(
                f"{selected.name} runs no command that could be traced\n"
                f"  hint: doit explain {selected.name} prints what it reads"
            )
        return super()._execute(show_all)
