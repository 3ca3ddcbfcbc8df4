"""`report.json`: what was proven of a backend's archive or a product. `verify` writes it, `manifest` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .codec import load

NAME = "report.json"


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
class Report:
    """What a `verify` came to.

    Attributes:
        subject: the backend or product.
        checks: each, with what was seen.
        proven: the line of the summary table.
    """

    subject: str
    checks: tuple[Check, ...]
    proven: str


def read_report(folder: Path) -> Report:
    """The report in the output directory of a `verify` action."""
    return load(Report, folder / NAME)
