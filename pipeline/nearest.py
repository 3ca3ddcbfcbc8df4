"""Names in messages: the one that was probably meant where one is not known, and the first of many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ALIKE = 0.65
"""Similarity of difflib from which a name may be meant; `windows` is no slip for `ios`, which has 0.6."""
_LONGEST = 100
"""Characters of a name that are compared."""


def nearest(word: str, known: Iterable[str], alike: float = ALIKE) -> str | None:
    """The name that was probably meant. Of `compile:model@backend` what stands before the @ weighs more."""
    from difflib import SequenceMatcher, get_close_matches  # noqa: PLC0415 - a no-op does not come here

    word, names = word[:_LONGEST], list(known)
    head, at, tail = word.rpartition("@")
    same_head = [name.removeprefix(f"{head}@") for name in names if at and name.startswith(f"{head}@")]
    if not same_head:
        return next(iter(get_close_matches(word, names, 1, alike)), None)

    def likeness(other: str) -> float:
        same = next(number for number in range(len(tail), -1, -1) if other.startswith(tail[:number]))
        return same / max(1, len(tail)) + SequenceMatcher(None, other, tail).ratio()

    best = max(same_head, key=likeness)
    return f"{head}@{best}" if likeness(best) > 0.5 else None  # noqa: PLR2004 - not alike at all


def did_you_mean(word: str, known: Iterable[str], shown: str = "`{}`") -> str:
    """The question in a hint; empty where no name is alike."""
    meant = nearest(word, known)
    return "" if meant is None else f"did you mean {shown.format(meant)}?"


def listed(things: Sequence[str], most: int = 5) -> str:
    """`a, b, c and 4 more`: enough to act on, never a page."""
    shown = ", ".join(things[:most])
    return shown if len(things) <= most else f"{shown} and {len(things) - most} more"
