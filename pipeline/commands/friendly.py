"""What every command of doit's and ours has in common: help on `-h`, a nearest name, and no traceback for a slip.

`commands.base` and `commands.run` mix it in, and so do the commands of doit's own in `commands.standard`. A no-op
imports it, so it imports nothing that doit has not imported.
"""

from __future__ import annotations

import errno
import getopt
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from doit.cmd_base import DodoTaskLoader
from doit.cmd_help import Help
from doit.cmdparse import CmdOption, CmdParseError
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from pipeline import settings
from pipeline.errors import SlipwayError
from pipeline.nearest import did_you_mean

from .loader import ProjectLoader, mistake

HELP = ("-h", "--help")

ERROR = 3
"""Exit status of doit when something is wrong before any task could run; ours too."""


def setting(
    name: str, text: str, *, long: str = "", kind: type = bool, variable: str | None = None
) -> dict[str, object]:
    """An option of Slipway's for commands of doit's, as its `CmdOption` wants it."""
    return {
        "section": "slipway", "name": name, "long": long or name.replace("_", "-"), "type": kind, "default": kind(),
        "env_var": variable, "help": text,
    }  # fmt: skip


DEBUG = setting("debug", "log each decision, command and store access, and show tracebacks", variable="SLIPWAY_DEBUG")

MOST = 1000
"""The largest number that an option takes."""

_NOT_A_TASK = re.compile(r"'(.*)' is not a task\.")
"""What doit's own commands say."""


class Option(CmdOption):  # type: ignore[misc]
    """An option of a command that says in a sentence which values it takes."""

    def str2type(self, str_val: object) -> object:
        """Convert a value of the command line, of the environment or of doit's configuration. What doit calls."""
        try:
            if self.env_var in settings.TAKES and str_val == os.environ.get(self.env_var):
                settings.check()
                str_val = str_val or self.default
            value = super().str2type(str_val)
        except SlipwayError as error:
            raise CmdParseError(str(error)) from error
        except CmdParseError as error:
            raise CmdParseError(self._refusal(str_val)) from error
        if self.type is int and isinstance(value, int) and not 0 <= value <= MOST:
            raise CmdParseError(self._refusal(str_val))
        return value

    def _refusal(self, value: object) -> str:
        kinds = {int: f"a number from 0 to {MOST}", bool: "0 or 1"}
        takes = f"one of {', '.join(self.choices)}" if self.choices else kinds.get(self.type, "something else")
        name = f"-{self.short}" if self.short else f"--{self.long}"
        if self.env_var and os.environ.get(self.env_var) == value:
            name = self.env_var
        return f"{name} takes {takes}, not {value if str(value).lstrip('-').isdecimal() else repr(value)}"


class Friendly:
    """To be mixed in before a class of doit's `Command`."""

    name: str
    doc_usage: str

    is_setting: Callable[[str], bool] = staticmethod(lambda _: True)
    """Whether a word with `=` that is no value of an option sets something for a dodo.py, as doit has it."""

    def __init__(self, *, task_loader: object = None, cmds: object = None, **kwargs: object) -> None:
        steady_streams()
        self._commands: Mapping[str, object] = cmds if isinstance(cmds, Mapping) else {}
        if type(task_loader) is DodoTaskLoader:
            task_loader = ProjectLoader.like(task_loader)
        try:
            super().__init__(task_loader=task_loader, cmds=cmds, **kwargs)  # type: ignore[call-arg]
        except CmdParseError as error:  # doit prints those of the command line only, not those of its configuration
            sys.stderr.write(f"ERROR: {error}\n  hint: correct doit.cfg, or [tool.doit] in pyproject.toml\n")
            sys.exit(ERROR)

    def get_options(self) -> list[Option]:
        """The options of this command. What doit calls."""
        loader = getattr(self, "loader", None)
        of_loader = () if loader is None else loader.cmd_options
        return [Option(one) for kind in ("base_options", "cmd_options") for one in getattr(self, kind, ())] + [
            Option(one) for one in of_loader
        ]

    def parse_execute(self, in_args: list[str]) -> int:
        """Answer, whoever reads it and however long. What doit calls."""
        try:
            status = self._parse_execute(in_args)
        except OSError as error:
            if error.errno not in _NO_READER:
                raise
            return _unread(error, 0)
        return flushed(status)

    def _parse_execute(self, words: list[str]) -> int:
        is_run = self.name == "run"  # its tasks may have options of their own
        if set(HELP) & set(words[:1] if is_run else words):
            self._print_help(everything=sys.argv[1:2] != ["run"] and is_run)
            return 0
        parser = self.cmdparser  # type: ignore[attr-defined]
        words = values_restored(parser, sys.argv[1 + (sys.argv[1:2] == [self.name]) :], words, self.is_setting)
        try:
            if not is_run:
                words = options_first(parser, words)
            return super().parse_execute(words) or 0  # type: ignore[misc]
        except (CmdParseError, getopt.GetoptError) as error:
            cause = error if isinstance(error, getopt.GetoptError) else error.__context__
            if not isinstance(cause, getopt.GetoptError):
                hint = "" if "\n  hint: " in str(error) else f"\n  hint: doit help {self.name}"
                raise _slip(f"{error}{hint}", parser, words) from error
            # doit's own text goes on with all options, as Python prints them
            meant = did_you_mean(cause.opt, (option.rstrip("=") for option in parser.get_long()), "--{}")
            what, hint = str(cause), meant or f"doit help {self.name}"
            option, _ = parser.get_option(f"{'-' * min(len(cause.opt), 2)}{cause.opt}")
            if option is not None:
                dashed = f"-{cause.opt}" if len(cause.opt) == 1 else f"--{cause.opt}"
                usage = dashed if option.type is bool else f"{dashed} VALUE"
                hint = f"doit {usage}" if is_run else f"doit {self.name} {usage}"
                if "not recognized" in what:  # a task could have options of its own
                    what = f"{dashed} stands behind a task, where only options of that task may stand"
                    hint = f"options stand before tasks: doit {usage} TASK"
            raise _slip(f"{what}\n  hint: {hint}", parser, words) from error

    def execute(self, params: dict[str, object], args: list[str]) -> object:
        """Refuse words that mean nothing, and say which were meant. What doit calls."""
        if args and not self.doc_usage:
            what = f"{self.name} takes no arguments, not {args[0]!r}\n  hint: doit help {self.name}"
            _answer_in_json(params, what)
            raise InvalidCommand(what)
        try:
            return self.work(params, args)
        except CmdParseError:
            raise
        except (InvalidDodoFile, InvalidTask) as error:
            _answer_in_json(params, str(error))
            raise
        except InvalidCommand as error:
            doits = _NOT_A_TASK.fullmatch(str(error)) if error.not_found is None else None
            word = doits[1] if doits else error.not_found
            what = str(error) if word is None else self._unknown(str(word))
            _answer_in_json(params, what)
            raise InvalidCommand(what) from error
        except Exception as error:
            loader = getattr(self, "loader", None)
            said = _said_of(error, loader.dodo if isinstance(loader, ProjectLoader) else None)
            if said is None:
                raise
            sys.stderr.write(f"ERROR: {said}\n")
            _answer_in_json(params, error if isinstance(error, SlipwayError) else said)
            return ERROR

    def work(self, params: dict[str, object], args: list[str]) -> object:
        """Do what doit's class does; to be replaced where that is not it."""
        return super().execute(params, args)  # type: ignore[misc]

    def _unknown(self, word: str) -> str:
        """What to say of a word that names nothing."""
        tasks = [task.name for task in getattr(self, "task_list", None) or ()]
        first = self.name in {"run", "help"}
        meant = did_you_mean(word, [*(self._commands if first else ()), *tasks], "{}")
        known = "doit list shows the tasks, doit help the commands" if first else "doit list --all shows the tasks"
        what = "neither a command nor a task nor a target" if first else "not a task"
        return f"{word!r} is {what}\n  hint: {meant or known}"

    def _print_help(self, *, everything: bool) -> None:
        if everything:
            given = {name: getattr(self, name) for name in ("config", "bin_name", "opt_vals")}
            commands: dict[str, object] = self._commands.to_dict()  # type: ignore[attr-defined]
            Help(cmds=self._commands, task_loader=self.loader, **given).print_usage(commands)  # type: ignore[attr-defined]
        else:
            sys.stdout.write(f"{self.help()}\n")  # type: ignore[attr-defined]


def _said_of(error: Exception, dodo: Path | None) -> str | None:
    """What to print in place of a traceback; None where there has to be one."""
    if isinstance(error, SlipwayError):
        logging.getLogger(__name__).debug("caused by", exc_info=error)
        return str(error)
    if os.environ.get("SLIPWAY_DEBUG") == "1":
        return None
    said = None if dodo is None else mistake(error, dodo)
    if said is None and isinstance(error, OSError) and (error.filename or error.errno not in _NO_READER):
        from pipeline.store.os_errors import store_error  # noqa: PLC0415 - a no-op comes by here

        return str(store_error(error, "go on"))
    return said


def _answer_in_json(params: Mapping[str, object], said: SlipwayError | str) -> None:
    """Print what went wrong as the document that a program asked for."""
    if params.get("json") or params.get("format") == "json":
        import json  # noqa: PLC0415 - a no-op comes by here

        from pipeline.reports.app_report import error_document  # noqa: PLC0415

        what, _, hint = str(said).partition("\n  hint: ")
        error = said if isinstance(said, SlipwayError) else SlipwayError(what, hint=hint or None)
        sys.stdout.write(f"{json.dumps(error_document(error), indent=2, ensure_ascii=False)}\n")


def _slip(what: str, parser: object, words: list[str]) -> CmdParseError:
    """The error for a command line that cannot be read; a program that asked for JSON gets it so."""
    given, known = " ".join(words).replace("--format ", "--format=").split(), parser.get_long()  # type: ignore[attr-defined]
    if ("json" in known and "--json" in given) or ("format=" in known and "--format=json" in given):
        _answer_in_json({"json": True}, what)
    return CmdParseError(what)


_NO_READER = (errno.EPIPE, errno.ENOSPC, errno.EIO)


def flushed(status: int, text: str = "") -> int:
    """The status of a command whose answer has been written out to the end, as far as there is somebody to read it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        return _unread(error, status)
    return status


def _unread(error: OSError, status: int) -> int:
    """Write no more: `| head` has seen enough, which is no error, and a full disk is one."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:
        return status
    sys.stderr.write(f"ERROR: the output could not be written: {error.strerror}\n")
    return status or ERROR


def steady_streams() -> None:
    """Have standard streams that can be written to: closed ones are /dev/null; what they cannot encode is escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no Unicode


def values_restored(parser: object, given: list[str], words: list[str], is_setting: Callable[[str], bool]) -> list[str]:
    """A command line with values like that of `--resources gpu=1`, which doit takes for a setting (see quirk DOIT-9).

    `given` is the command line as it was typed, `words` what doit has left of it; for `is_setting` see `Friendly`.
    """
    plain = [word for word in given if word.startswith("-") or "=" not in word]
    if plain != words:  # it does not come from the command line
        return words
    options = [parser.get_option(word)[0] for word in ["", *given][: len(given)]]  # type: ignore[attr-defined]
    return [
        word
        for word, before in zip(given, options, strict=True)
        if word in plain or (before is not None and before.type is not bool) or not is_setting(word)
    ]


def options_first(parser: object, words: list[str]) -> list[str]:
    """A command line with its options before all else, where doit's parser looks for them; it stops at a plain word.

    Raises:
        GetoptError: an option is none, or lacks its value.
    """
    given, rest = getopt.gnu_getopt(words, parser.get_short(), parser.get_long())  # type: ignore[attr-defined]
    found = []
    for name, value in given:
        has_value = parser.get_option(name)[0].type is not bool  # type: ignore[attr-defined]
        found += [name, value] if has_value else [name]
    return [*found, "--", *rest]
