"""doit's own commands, without the tracebacks that a slip on their command line would give.

Plugins of these names replace doit's in every project of this Python, and do otherwise just what doit's do.
"""

from __future__ import annotations

import dbm
import sys
from typing import Any

from doit.action import CmdAction
from doit.cmd_base import DoitCmdBase
from doit.cmd_clean import Clean as DoitClean
from doit.cmd_completion import TabCompletion as DoitTabCompletion
from doit.cmd_dumpdb import DumpDB as DoitDumpDB
from doit.cmd_forget import Forget as DoitForget
from doit.cmd_help import Help as DoitHelp
from doit.cmd_ignore import Ignore as DoitIgnore
from doit.cmd_info import Info as DoitInfo
from doit.cmd_list import List as DoitList
from doit.cmd_resetdep import ResetDep as DoitResetDep
from doit.cmd_strace import Strace as DoitStrace
from doit.exceptions import InvalidCommand
from doit.task import Task

from pipeline.reports.events import BrokenPipeSafeStream

from .friendly import Friendly


def _be_alone() -> None:
    """Wait for a doit that builds here: before a command changes what the tree holds."""
    if "pipeline.dodo" not in sys.modules:
        return
    from pipeline.doit_plugin.session import current  # noqa: PLC0415 - not in the projects of others
    from pipeline.errors import StoreError  # noqa: PLC0415

    session = current()
    session.show_notes(lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201 - at once
    try:
        session.alone()
    except StoreError as error:
        # Who may not lock may not write: what the command itself meets says so.
        if not isinstance(error.__cause__, PermissionError):
            raise InvalidCommand(str(error)) from error


class Clean(Friendly, DoitClean):  # type: ignore[misc]
    """See doit."""

    outstream: Any

    def _execute(
        self, dryrun: bool, cleandep: bool, cleanall: bool, cleanforget: bool, pos_args: list[str] | None = None
    ) -> object:
        if not dryrun:
            _be_alone()
        self.outstream = BrokenPipeSafeStream(self.outstream)
        return super()._execute(dryrun, cleandep, cleanall, cleanforget, pos_args)


class Help(Friendly, DoitHelp):  # type: ignore[misc]
    """See doit."""

    def work(self, params: dict[str, object], args: list[str]) -> object:
        """Print help."""
        if len(args) != 1 or args[0] in {"task", *self.cmds}:
            return super().work(params, args)
        DoitCmdBase.execute(self, params, args)  # doit's own keeps silent where there is no project
        return 0

    def _execute(self, pos_args: list[str]) -> bool:
        if not super()._execute(pos_args):
            raise InvalidCommand(not_found=pos_args[0])
        return True


class Forget(Friendly, DoitForget):  # type: ignore[misc]
    """See doit."""

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> object:
        if self.sel_tasks is None:  # where all tasks are the default, doit's own fails
            self.sel_tasks: list[str] = [task.name for task in self.task_list]
        _be_alone()
        return super()._execute(forget_sub, forget_disable_default, forget_all)


class Ignore(Friendly, DoitIgnore):  # type: ignore[misc]
    """See doit."""

    def _execute(self, pos_args: list[str]) -> object:
        if not pos_args:
            raise InvalidCommand("ignore which task?\n  hint: name one or several; doit list --all names them")
        _be_alone()
        return super()._execute(pos_args)


class ResetDep(Friendly, DoitResetDep):  # type: ignore[misc]
    """See doit."""


class TabCompletion(Friendly, DoitTabCompletion):  # type: ignore[misc]
    """See doit."""


class List(Friendly, DoitList):  # type: ignore[misc]
    """See doit."""

    def _print_task(self, template: str, task: Task, status: bool, list_deps: bool, tasks: dict[str, Task]) -> None:
        """Print a task; of a group the state that needs most attention, where doit's own always says `R`."""
        if status and task.has_subtask:
            states = {_state(self, tasks[name], tasks) for name in task.task_dep}
            template = template.replace("{status}", next((mark for mark in "ERUI" if mark in states), "U"))
            status = False
        try:
            super()._print_task(template, task, status, list_deps, tasks)
        except (KeyError, IndexError, ValueError) as error:
            raise InvalidCommand(f"--template={template.rstrip()} is wrong: {error}\n  hint: {_FIELDS}") from error


_FIELDS = "the fields are {name}, {doc} and, with --status, {status}"


def _state(command: List, task: Task, tasks: dict[str, Task]) -> str:
    if command.dep_manager.status_is_ignore(task):
        return "I"
    return str(command.STATUS_MAP[command.dep_manager.get_status(task, tasks).status])


class Info(Friendly, DoitInfo):  # type: ignore[misc]
    """See doit."""

    def _execute(self, pos_args: list[str], hide_status: bool = False) -> object:
        if len(pos_args) != 1:
            raise InvalidCommand(f"info takes one task, not {len(pos_args)}\n  hint: doit list --all names them")
        return super()._execute([_task(self, pos_args[0]).name], hide_status)


class DumpDB(Friendly, DoitDumpDB):  # type: ignore[misc]
    """See doit."""

    def work(self, params: dict[str, object], args: list[str]) -> object:
        """Print doit's database."""
        try:
            return super().work(params, args)
        except (dbm.error[0], OSError, ValueError) as error:
            raise InvalidCommand(
                "there is no database of doit's here\n  hint: doit explain TASK prints what Slipway remembers of a task"
            ) from error


class Strace(Friendly, DoitStrace):  # type: ignore[misc]
    """See doit."""

    def work(self, params: dict[str, object], args: list[str]) -> object:
        """Trace a task."""
        if len(args) != 1:
            raise InvalidCommand(f"strace takes one task, not {len(args)}\n  hint: doit list --all names them")
        return super().work(params, args)

    def _execute(self, show_all: bool) -> object:
        selected = _task(self, self.sel_tasks[0])
        if not any(isinstance(action, CmdAction) for action in selected.actions):
            raise InvalidCommand(
                f"{selected.name} runs no command that could be traced\n"
                f"  hint: doit explain {selected.name} prints what it reads"
            )
        return super()._execute(show_all)


def _task(command: Info | Strace, name: str) -> Task:
    """A task by its name."""
    found = next((task for task in command.task_list if task.name == name), None)
    if found is None:
        raise InvalidCommand(not_found=name)
    return found
