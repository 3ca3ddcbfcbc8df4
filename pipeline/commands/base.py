"""What Slipway's commands share: options as a frozen class, an answer, and how they find the project.

A command says which options it has and what it answers. The user's dodo.py is loaded the way doit does (so that `-f`,
`-d` and `targets=PATH` hold), without what doit's own commands need: its task objects and its database.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import ClassVar, Generic, TypeVar, get_args

from doit.cmd_base import Command, DoitCmdBase
from doit.cmdparse import DefaultUpdate

from pipeline.documents.codec import decode
from pipeline.doit_plugin.options import set_options
from pipeline.doit_plugin.session import Session, current
from pipeline.engine.options import Options
from pipeline.reports.tables import terminal_width

from .friendly import DEBUG, Friendly

Given = TypeVar("Given")
"""The options of a command: a frozen dataclass whose fields `flag` and `value` make."""


def flag(text: str, *, short: str = "") -> bool:
    """An option without a value."""
    return field(default=False, metadata={"type": bool, "short": short, "help": text})


def value(
    text: str, *, default: str = "", short: str = "", choices: Mapping[str, str] | None = None, long: str = ""
) -> str:
    """An option with a value, all of it text: where there are `choices`, one of those, each with what it means.

    `long` is its name on the command line, where that differs.
    """
    more = ({"choices": tuple(choices.items())} if choices else {}) | ({"long": long} if long else {})
    return field(default=default, metadata={"type": str, "short": short, "help": text, **more})


def number(text: str, *, default: int, short: str = "", long: str = "") -> int:
    """An option with a number, which is not below 0. `long` is its name on the command line, where that differs."""
    named = {"long": long} if long else {}
    return field(default=default, metadata={"type": int, "short": short, "help": text, **named})


def several(text: str) -> list[str]:
    """An option that may be given more than once."""
    return field(default_factory=list, metadata={"type": list, "short": "", "help": text})


def json_flag() -> bool:
    """The option that most commands have."""
    return flag("print JSON, for programs")


@dataclass(frozen=True)
class JsonOptions:
    """Those of a command that has no others; see `doit help`."""

    json: bool = json_flag()


class Answering(Friendly, Generic[Given]):
    """A command with an answer. Its docstring is its purpose, and it is generic in the class of its options."""

    options: ClassVar[type]
    doc_purpose: ClassVar[str]
    cmd_options: ClassVar[tuple[dict[str, object], ...]] = ()
    is_setting = staticmethod(lambda word: word.partition("=")[0].isidentifier())  # else a path, or an address

    def __init_subclass__(cls) -> None:
        """Tell doit of the purpose, and of the options as its `CmdOption` wants them."""
        super().__init_subclass__()
        [given] = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]
        if isinstance(given, type):
            cls.options, cls.doc_purpose = given, str(cls.__doc__)
            cls.cmd_options = tuple(
                {
                    "name": one.name,
                    "long": one.name.replace("_", "-"),
                    "default": [] if one.default is MISSING else one.default,
                    **one.metadata,
                }
                for one in fields(given)
            )

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where the answer goes elsewhere."""
        return terminal_width() if sys.stdout.isatty() else None

    def given(self, params: Mapping[str, object]) -> Given:
        """The options of a command line."""
        made: Given = decode(self.options, params, self.name)
        return made

    def show(self, document: object, lines: Iterable[str], *, as_json: bool) -> None:
        """Print an answer: a JSON document if that is asked for, else lines."""
        if as_json:
            self.say(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            for line in lines:
                self.say(line)

    def say(self, text: str) -> None:
        """Print a line (or several)."""
        sys.stdout.write(f"{text}\n")


class PlainCommand(Answering[Given], Command):  # type: ignore[misc]
    """A command that needs no project. Subclasses implement `answer`."""

    is_setting = staticmethod(lambda word: word.startswith("targets="))

    def work(self, params: Mapping[str, object], args: Sequence[str]) -> int:
        """Answer."""
        return self.answer(self.given(params), args)

    def answer(self, options: Given, args: Sequence[str]) -> int:
        """See `ProjectCommand.answer`."""
        raise NotImplementedError


class ProjectCommand(Answering[Given], DoitCmdBase):  # type: ignore[misc]
    """A command about the project of the dodo.py in this directory. Subclasses implement `answer`."""

    base_options = (DEBUG,)

    def work(self, params: DefaultUpdate, args: Sequence[str]) -> int:
        """Find the project, and answer."""
        set_options(decode(Options, params, self.name))
        self.loader.setup(params)
        params.update_defaults(self.loader.load_doit_config())
        session = current()
        session.show_notes(lambda text: print(text, file=sys.stderr))  # noqa: T201 - no part of the answer
        return self.answer(session, self.given(params), args)

    def answer(self, session: Session, options: Given, args: Sequence[str]) -> int:
        """Do the command's work.

        Args:
            session: the project.
            options: those of the command line.
            args: its other words.

        Returns:
            The exit status.

        Raises:
            SlipwayError: it cannot be done; the text is printed and the status is 3.
        """
        raise NotImplementedError
