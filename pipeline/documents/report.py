"""`report.json`: what was proven of a backend's archive or a product. `verify` writes it, `manifest` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .codec import Document, decode

State = Literal["proven", "failed", "not proven"]


@dataclass(frozen=True)
class Check:
    """One question, and what was seen when it was asked.

    Attributes:
        name: the question in a word or two, e.g. `constructors`.
        state: `not proven` is for questions this machine cannot answer; it is never a pass.
        saw: the evidence, with numbers and names.
        hint: what to do, where the state is not `proven`.
    """

    name: str
    state: State
    saw: str
    hint: str | None


@dataclass(frozen=True)
class Report(Document):
    """What a `verify` came to; `proven` is the line of the summary table."""

    NAME = "report.json"

    subject: str
    checks: tuple[Check, ...]
    proven: str


@dataclass(frozen=True)
class Verdict:
    """What of a report goes into the facts of the action, where the table and `--strict` find it.

    Attributes:
        models: subject -> the line of a model that has one of its own.
        not_proven: how many questions this machine could not answer; where strict, none may.
        checks: how many there were.
        states: name of a question -> its state.
    """

    proven: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    not_proven: int = 0
    checks: int = 0
    states: Mapping[str, str] = field(default_factory=dict)


def verdict_in(facts: Mapping[str, object]) -> Verdict:
    """The verdict in the facts of an action; an empty one in those of other steps.

    Raises:
        FormatError: it has the wrong shape.
    """
    return decode(Verdict, facts, "facts") if "proven" in facts else Verdict()
