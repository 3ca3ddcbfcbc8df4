"""JSON of strangers, read within bounds of size, depth and length: importers, merging and verify-app call it.

What comes out can be walked by recursion, written again, and printed.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import FormatError, Position, SlipwayError
from pipeline.files import NotRegularError, open_regular

LARGEST_BYTES = 64 << 20
DEEPEST = 64
LONGEST_NUMBER = 400
"""Characters; the longest that a double needs are about 330."""
LARGEST_NUMBER = sys.float_info.max
"""A whole number beyond cannot be turned into a double."""
MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put before UTF-8."""

CONFLICT = "has an unresolved merge conflict"
_MARKS = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?: .*)?\r?$", re.MULTILINE)

_SYNTAX = "correct it; JSON has neither comments nor trailing commas"


class Refused(ValueError):
    """What JSON allows and nothing here accepts; `token` is the text it was found by."""

    def __init__(self, what: str, token: str = "") -> None:
        super().__init__(what)
        self.token = token


def read(path: Path, limit: int = LARGEST_BYTES, error: type[SlipwayError] = FormatError) -> bytes:
    """The bytes of a regular file.

    Raises:
        SlipwayError: it cannot be read, is a device or a pipe, or is larger than `limit`.
    """
    data = head(path, limit + 1, error)
    if len(data) > limit:
        raise error(f"is larger than {limit >> 20} MiB", where=path, hint="check that it is the right file")
    return data


def head(path: Path, count: int, error: type[SlipwayError] = FormatError) -> bytes:
    """The first bytes of a regular file.

    Raises:
        SlipwayError: it cannot be read, or is a device or a pipe.
    """
    try:
        with open_regular(path) as file:
            return file.read(count)
    except NotRegularError as bad:
        raise error("is not a regular file", where=path, hint="give the path of a file") from bad
    except IsADirectoryError as bad:
        raise error("cannot be read: it is a folder", where=path, hint="give the path of a file") from bad
    except (OSError, ValueError) as bad:  # ValueError: a null byte in the path
        what = bad.strerror if isinstance(bad, OSError) else str(bad)
        hint = "make it readable for you" if isinstance(bad, PermissionError) else "check the path"
        raise error(f"cannot be read: {what}", where=path, hint=hint) from bad


def load(path: Path, error: type[SlipwayError] = FormatError) -> Any:
    """The value in a JSON file of any origin.

    Raises:
        SlipwayError: it cannot be read, is no regular file, not JSON, or exceeds a bound.
    """
    return parse(read(path, error=error), str(path), error)


def parse(data: bytes, where: str, error: type[SlipwayError] = FormatError) -> Any:
    """The value of a JSON text in UTF-8; a byte order mark before it is skipped.

    Raises:
        SlipwayError: it is not JSON, names a key twice, or exceeds a bound.
    """
    try:
        text = data.removeprefix(MARK).decode()
    except UnicodeDecodeError as bad:
        raise error("is not UTF-8 text", where=where, hint="save it as UTF-8") from bad
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=whole, parse_float=real, parse_constant=_no_constant
        )
        check(value)
    except json.JSONDecodeError as bad:
        demand_no_conflict(text, where, error)
        raise error(f"is not JSON: {bad.msg}", where=Position(where, bad.lineno, bad.colno), hint=_SYNTAX) from bad
    except Refused as bad:
        place = max(0, text.rfind(bad.token))  # of two equal keys, the later one should not be there
        position = Position(where, text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place))
        raise error(
            f"is not JSON that can be used: {bad}", where=position if bad.token else where, hint="correct it"
        ) from bad
    except RecursionError as bad:
        raise error("is not JSON that can be used: it is nested too deeply", where=where, hint="correct it") from bad
    return value


def demand_no_conflict(text: str, file: str, error: type[SlipwayError] = FormatError) -> None:
    """Refuse a text that git has left both sides of a merge in; asked where it cannot be read.

    Raises:
        SlipwayError: the first of the lines that git puts there.
    """
    if mark := _MARKS.search(text):
        hint = "keep what is right of both sides, without the lines that git put there, and run doit again"
        raise error(CONFLICT, where=Position(file, text.count("\n", 0, mark.start()) + 1, 1), hint=hint)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Refused(f"the key {twice[:80]!r} is there twice in one object", json.dumps(twice))
    return found


def whole(text: str) -> int:
    """A whole number, for `json.loads`."""
    if len(text) > LONGEST_NUMBER:
        raise Refused(f"a number has {len(text)} digits", text)
    return int(text)


def real(text: str) -> float:
    """A number with a fraction or an exponent, for `json.loads`."""
    number = float(text) if len(text) <= LONGEST_NUMBER else math.inf
    if not math.isfinite(number):
        raise Refused(f"the number {text[:20]}… is too large", text)
    return number


def _no_constant(name: str) -> NoReturn:
    raise Refused(f"{name} is not a number of JSON", name)


def check(value: object, encode: Callable[[str], object] = str.encode) -> None:
    """Bound the depth of JSON and its numbers, and refuse text that cannot be written.

    For such a text `encode` raises UnicodeEncodeError; `os.fsencode` lets file names pass that are not UTF-8.

    Raises:
        Refused: it exceeds a bound.
    """
    todo = [(value, 1)]
    while todo:
        one, depth = todo.pop()
        if depth > DEEPEST:
            raise Refused("it is nested too deeply")
        if isinstance(one, str):
            try:
                encode(one)
            except UnicodeEncodeError as bad:
                raise Refused("a text holds half of a surrogate pair") from bad
        elif isinstance(one, int | float):
            if not -LARGEST_NUMBER <= one <= LARGEST_NUMBER:  # nor is NaN
                raise Refused("a number is too large")
        elif isinstance(one, dict):
            todo += ((key, depth + 1) for key in one)
            todo += ((inner, depth + 1) for inner in one.values())
        elif isinstance(one, list):
            todo += ((inner, depth + 1) for inner in one)
