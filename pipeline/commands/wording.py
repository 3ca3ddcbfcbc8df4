"""Sizes, ages and durations, as the commands read and print them; digests short enough to compare by eye."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pipeline.errors import SlipwayError
from pipeline.files import is_sha256
from pipeline.proofs.report import counted

count = counted

SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
MINUTE, HOUR = 60, 3600

LONGEST = 60
"""Characters of a value above which its middle is left out."""

SHOWN = 12
"""Characters of a digest that are shown."""

_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_SIZE = re.compile(rf"{_NUMBER}\s*([kMGT]?)B?")
_AGE = re.compile(rf"{_NUMBER}\s*([smhdw])")


def read_size(text: str) -> int:
    """Bytes: `500M`, `1.5G`, `10GB`; decimal, as disks and downloads are sold.

    Raises:
        SlipwayError: it is no size.
    """
    return int(_read(text, _SIZE, SIZES, "a size", "write a number and one of k, M, G, T: 500M, 10G"))


def read_age(text: str) -> float:
    """Seconds: `30d`, `12h`, `2w`.

    Raises:
        SlipwayError: it is no age.
    """
    return _read(text, _AGE, AGES, "an age", "write a number and one of m, h, d, w: 12h, 30d")


def _read(text: str, form: re.Pattern[str], units: Mapping[str, int], what: str, hint: str) -> float:
    found = form.fullmatch(text.strip())
    if found is None:
        raise SlipwayError(f"{text!r} is not {what}", hint=hint)
    return float(found[1]) * units[found[2]]


def duration(seconds: float) -> str:
    """`0.4 s`, `34 s`, `12 min 5 s`, `3 h 20 min`."""
    if seconds < 10:  # noqa: PLR2004 - where a tenth stops mattering
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"


def shown(value: object) -> str:
    """A value of a key document on one line; a digest by its beginning, what is long without its middle."""
    if value is None:
        return "nothing"
    if isinstance(value, str) and is_sha256(value):
        return short(value)
    text = json.dumps(value, ensure_ascii=False)
    half = LONGEST // 2 - 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"


def short(digest: str) -> str:
    """The beginning of a digest."""
    return f"{digest[:SHOWN]}…"
