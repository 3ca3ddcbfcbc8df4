"""Finds the line that says why in what a compiler raised: TVM's errors bring programs, stacks and traces along.

Everything here that shows an error of TVM's, or of a front end's, asks it. The whole text is in the log.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import SlipwayError, StepError

LONGEST = 300

_STATED = re.compile(r"^(?:Error message|Reason): *(?P<why>\S.*)")
"""How a failed schedule ends, behind the program that it shows."""

_FAILED = re.compile(r"\b(?:Check failed|InternalError|\w+Error): *\S")
"""A failed check inside, which is closer to the cause than what it was wrapped in."""

_NOISE = re.compile(
    r"^(?:\(?\.\.\. ?(?:\d+ lines skipped.*)?\)?|Traceback .*|Stack trace:?.*|\[bt\].*|File \".*|\d+: .*|\[\d+\] .*|"
    r"[\^~|\-=*# ]+|[#@].*|from .* import .*|(?:def|class|with|for|if|return|while) .*|T\.\w+.*|R\.\w+.*|\w+ = .*)$"
)
"""Lines of programs, traces and rulers."""


@contextmanager
def explained(
    what: str, hint: str, where: str | Path | None = None, at: Callable[[Exception], str] = lambda _: ""
) -> Iterator[None]:
    """Turn what TVM or a front end raises into a message with its reason; the traceback goes into the action's log.

    `at` finds in the error where in the input it came up, which follows `what`.

    Raises:
        StepError: `what`, and why.
    """
    try:
        yield
    except SlipwayError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise StepError(f"{what}{at(error)}: {reason(error)}", where=where, hint=hint) from error


def reason(error: BaseException) -> str:
    """One line: the kind of the error, and why."""
    return f"{type(error).__name__}: {why(str(error).splitlines())}"


def why(lines: Sequence[str]) -> str:
    """The one of some lines that says why."""
    text = [line.strip() for line in lines if line.strip()]
    for line in text:
        if stated := _STATED.match(line):
            return _short(stated["why"])
    telling = [line for line in text if not _NOISE.match(line)]
    failed = [line for line in telling if _FAILED.search(line)]
    if failed:
        return _short(failed[-1])
    if not telling:
        return _short(text[0]) if text else "no message"
    first, *rest = telling
    return _short(f"{first} {rest[0]}" if first.endswith(":") and rest else first)


def _short(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
