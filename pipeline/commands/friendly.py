"""What every command of doit's and ours has in common: help on `-h`, a nearest name, and no traceback for a slip.

`commands.base` and `commands.run` mix it in, and so do the commands of doit's own in `commands.standard`. A no-op
imports it, so it imports nothing that doit has not imported.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand, InvalidDodoFile

HELP = ("-h", "--help")


class Friendly:
    """To be mixed in before a class of doit's `Command`."""

    def parse_execute(self, in_args: list[str]) -> Any:
        """Print help where it is asked for; name the option that is unknown. What doit calls."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # for names of files that are no Unicode, as on stderr
        command: Any = self
        if set(HELP) & set(in_args[:1] if command.name == "run" else in_args):  # a task may have options of its own
            sys.stdout.write(f"{command.help()}\n")
            return 0
        try:
            return super().parse_execute(in_args)  # type: ignore[misc]
        except CmdParseError as error:
            if error.__context__ is None:
                raise
            # doit's own text goes on with all options, as Python prints them
            raise CmdParseError(f"{error.__context__}\n  hint: doit help {command.name}") from error
        except BrokenPipeError:  # `| head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0

    def execute(self, params: Any, args: list[str]) -> Any:
        """Say where the project is, or what name was meant. What doit calls."""
        try:
            return super().execute(params, args)  # type: ignore[misc]
        except InvalidDodoFile as error:
            if hint := missing_project(params):
                raise InvalidDodoFile(hint) from error
            raise
        except InvalidCommand as error:
            if error.not_found is None:
                raise
            raise InvalidCommand(unknown(str(error.not_found), self)) from error


def missing_project(params: Mapping[str, Any]) -> str | None:
    """What to say where there is no project in this directory; None where there is one."""
    name = params.get("dodoFile") or "dodo.py"
    here = Path(params.get("cwdPath") or ".").absolute()
    if (here / name).exists():
        return None
    found = next((folder for folder in here.parents if (folder / name).is_file()), None)
    if found is not None and name == "dodo.py":
        hint = f"the project is in {os.path.relpath(found)}: go there, or say doit -k"
    else:
        hint = "doit init starts a project here" if name == "dodo.py" else "check the name after -f"
    return f"there is no {name} in {here}\n  hint: {hint}"


def unknown(word: str, command: Any) -> str:
    """What to say of a word that is neither a command nor a task nor a target."""
    tasks = [task.name for task in getattr(command, "task_list", None) or ()]
    commands = list(command.cmds.to_dict()) if getattr(command, "cmds", None) is not None else []
    meant = nearest(word, [*commands, *tasks])
    hint = f"did you mean {meant}?" if meant else "doit list shows the tasks, doit help the commands"
    return f"{word!r} is neither a command nor a task nor a target\n  hint: {hint}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    import difflib  # noqa: PLC0415 - a no-op does not come here

    return next(iter(difflib.get_close_matches(word, list(known), 1, 0.7)), None)
