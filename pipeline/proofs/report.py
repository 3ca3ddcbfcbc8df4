"""What a proof found, and how a list of findings becomes a report or an error.

Every module of this package makes `Check`s; `pipeline.steps.verify` collects them and asks here what they add up to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.documents.codec import dumps, encode
from pipeline.documents.report import Check as Check
from pipeline.documents.report import Report, Verdict
from pipeline.errors import VerifyError
from pipeline.nearest import listed


def proven(name: str, saw: str) -> Check:
    """A question answered well."""
    return Check(name, "proven", saw, None)


def failed(name: str, saw: str, hint: str) -> Check:
    """A question answered badly: the artifact is wrong."""
    return Check(name, "failed", saw, hint)


def not_proven(name: str, saw: str, hint: str) -> Check:
    """A question this machine could not answer, and what it lacks."""
    return Check(name, "not proven", saw, hint)


def settled(name: str, problems: Sequence[str], saw: str, hint: str) -> Check:
    """A question answered by the problems that were found: none is the good answer."""
    return failed(name, listed(problems), hint) if problems else proven(name, saw)


def open_summary(check: Check) -> str:
    """The line of the summary table for what could not be proven: what was missing, and the short form of the hint."""
    return f"not proven: {check.saw}" + (f", {check.hint.partition(' (')[0]}" if check.hint else "")


def counted(number: int, thing: str) -> str:
    """`1 slice`, `2 slices`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def facts(checks: Sequence[Check], summary: str, models: Mapping[str, str]) -> dict[str, object]:
    """The few values of a report that go into the action's record; `models` are lines of models of their own."""
    states = {check.name: check.state for check in checks}
    is_open = sum(check.state == "not proven" for check in checks)
    found: dict[str, object] = encode(Verdict(summary, models, is_open, len(checks), states))
    return found


def settle(subject: str, checks: Sequence[Check], *, strict: bool, log: Path) -> None:
    """Raise when the findings do not allow the artifact to leave.

    A failed action publishes no outputs, so the whole report goes to the log first.

    Raises:
        VerifyError: a check failed, or, with `strict`, could not be made.
    """
    fatal = [check for check in checks if check.state == "failed" or (strict and check.state == "not proven")]
    if not fatal:
        return
    with log.open("a", encoding="utf-8") as file:
        file.write(dumps(Report(subject, tuple(checks), "failed")))
    verdict = "failed" if any(check.state == "failed" for check in fatal) else "could not be made"
    what = f"{len(fatal)} of {len(checks)} checks {verdict}"
    hints = list(dict.fromkeys(check.hint for check in fatal if check.hint))
    if len(fatal) == 1:
        what += f": {fatal[0].name}: {fatal[0].saw}"
    for check in fatal if len(fatal) > 1 else ():
        what += f"\n  {check.name} ({check.state}): {check.saw}"
        if check.hint and len(hints) > 1:
            what += f"\n    hint: {check.hint}"
    raise VerifyError(what, hint=hints[0] if len(hints) == 1 else None, log=log)
