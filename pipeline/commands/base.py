"""What Slipway's commands share: how they find the project, and how they end when something is wrong.

A command names its options and says what it answers; this module loads the user's dodo.py the way doit does (so that
`-f`, `-d` and `targets=PATH` hold), and leaves out what doit's own commands need: its task objects and its database.
"""

from __future__ import annotations

import getopt
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from doit.cmd_base import DoitCmdBase
from doit.exceptions import InvalidDodoFile

from pipeline.action import Json
from pipeline.doit_plugin.options import set_options
from pipeline.doit_plugin.session import Session, current
from pipeline.engine.options import Options
from pipeline.errors import SlipwayError

from .friendly import Friendly, missing_project

Option = dict[str, Any]
"""What doit wants to know of a command line option: see doit's `CmdOption`."""

ERROR = 3
"""Exit status of doit when something is wrong before any task could run; ours too."""

T = TypeVar("T")

log = logging.getLogger(__name__)


def flag(name: str, text: str, short: str = "") -> Option:
    """An option without a value. Its name is given as on the command line: `dry-run` is read as `dry_run`."""
    return {"name": name.replace("-", "_"), "long": name, "short": short, "type": bool, "default": False, "help": text}


def value(
    name: str, text: str, *, default: str = "", short: str = "", choices: Mapping[str, str] | None = None
) -> Option:
    """An option with a value, all of it text. `choices` are the values it may have, each with what it means."""
    option = flag(name, text, short) | {"type": str, "default": default}
    return option | {"choices": tuple(choices.items())} if choices else option


JSON = flag("json", "print JSON, for programs")
DEBUG = flag("debug", "log each decision, command and store access, and show tracebacks") | {"env_var": "SLIPWAY_DEBUG"}


class ProjectCommand(Friendly, DoitCmdBase):  # type: ignore[misc]
    """A command about the project of the dodo.py in this directory. Subclasses implement `answer`."""

    base_options: tuple[Option, ...] = (DEBUG,)

    def parse_execute(self, in_args: list[str]) -> Any:
        """Take options behind other words, too. What doit calls."""
        return super().parse_execute(options_first(self.cmdparser, in_args))

    def execute(self, params: Any, args: list[str]) -> int:
        """Find the project, answer, and print what is wrong without a traceback. What doit calls."""

        def work() -> int:
            set_options(Options(debug=params["debug"]))
            if word := missing_project(params):
                raise InvalidDodoFile(word)
            self.loader.setup(params)
            params.update_defaults(self.loader.load_doit_config())
            session = current()
            session.show_notes(_aside)
            return self.answer(session, params, args)

        return reporting(work)

    def answer(self, session: Session, params: Mapping[str, Any], args: Sequence[str]) -> int:
        """Do the command's work.

        Args:
            session: the project.
            params: options by name.
            args: the other words of the command line.

        Returns:
            The exit status.

        Raises:
            SlipwayError: it cannot be done; the text is printed and the status is `ERROR`.
        """
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Print a line (or several)."""
        self.outstream.write(f"{text}\n")

    def say_json(self, document: Json) -> None:
        """Print a JSON document."""
        self.say(json.dumps(document, indent=2, ensure_ascii=False))


def _aside(text: str) -> None:
    """Say something that is not part of the answer."""
    sys.stderr.write(f"{text}\n")


def options_first(parser: Any, words: list[str]) -> list[str]:
    """A command line with its options before all else, where doit's parser looks for them; it stops at a plain word.

    Args:
        parser: the command's, of doit.
        words: the command line.
    """
    try:
        options, rest = getopt.gnu_getopt(words, parser.get_short(), parser.get_long())
    except getopt.GetoptError:
        return words  # doit's parser will meet the same mistake, and say so
    return [word for option, given in options for word in ((option, given) if given else (option,))] + ["--", *rest]


def reporting(work: Callable[[], int]) -> int:
    """Call `work`; when it raises an error meant for users, print that and return `ERROR`."""
    try:
        return work()
    except SlipwayError as error:
        sys.stderr.write(f"ERROR: {error}\n")
        log.debug("caused by", exc_info=error)
        return ERROR
    except BrokenPipeError:  # `| head`: whoever read us has seen enough
        sys.stderr.close()
        return 0
