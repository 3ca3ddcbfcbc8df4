"""Where in a JSON text its values are, so that one of them can be changed and every other character stays.

`merge_records` edits files that people wrote and formatted. A text that was parsed and written again would be theirs no
more. Knows JSON only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.action import Json
from pipeline.errors import Position, SlipwayError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Span:
    """A value in a text: from `start` up to `end`, and what it is."""

    start: int
    end: int
    value: Json


@dataclass(frozen=True)
class Member:
    """A member of an object: from `start` (the quote of its key) to the end of its value."""

    key: str
    start: int
    value: Span


@dataclass(frozen=True)
class Edit:
    """Put `text` in the place of what is between `start` and `end`."""

    start: int
    end: int
    text: str


def parse(text: str, where: str) -> Span:
    """The one value of a text.

    Args:
        text: without a byte order mark.
        where: how errors name the file.

    Raises:
        SlipwayError: it is no JSON.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as bad:
        place = Position(where, bad.lineno, bad.colno)
        raise SlipwayError(f"is no JSON: {bad.msg}", where=place, hint="correct it: JSON has no comments") from None
    except RecursionError:
        raise SlipwayError(
            "is no JSON anybody wrote: it is nested too deeply", where=where, hint="correct it"
        ) from None
    return _value(text, _skip(text, 0))


def members(text: str, span: Span) -> list[Member]:
    """The members of an object of a text that `parse` took, in order; twice where a key is there twice."""
    found: list[Member] = []
    at = _skip(text, span.start + 1)
    while text[at] != "}":
        key, end = _DECODER.raw_decode(text, at)
        value = _value(text, _skip(text, _skip(text, end) + 1))  # behind the colon
        found.append(Member(key, at, value))
        at = _next(text, value.end)
    return found


def elements(text: str, span: Span) -> list[Span]:
    """The elements of an array, in order."""
    found: list[Span] = []
    at = _skip(text, span.start + 1)
    while text[at] != "]":
        found.append(_value(text, at))
        at = _next(text, found[-1].end)
    return found


def applied(text: str, edits: Iterable[Edit]) -> str:
    """The text with edits made, which must not overlap."""
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def newline(text: str) -> str:
    """How lines end in a text."""
    return "\r\n" if "\r\n" in text else "\n"


def indent_of(text: str, at: int) -> str | None:
    """The white space before a place, where nothing else is before it in its line; None where there is."""
    begin = text.rfind("\n", 0, at) + 1
    before = text[begin:at]
    return before if begin and not before.strip(" \t") else None


def step_of(text: str) -> str:
    """How deep one level is indented: as deep as the first line that is."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "


def _value(text: str, at: int) -> Span:
    value, end = _DECODER.raw_decode(text, at)
    return Span(at, end, value)


def _next(text: str, at: int) -> int:
    """Where the next member or element begins behind one that ends at `at`, or the bracket that closes."""
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
