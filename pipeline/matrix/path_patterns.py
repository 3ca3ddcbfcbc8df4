"""Patterns of paths in the tree of a layout, by themselves: what is wrong with one. `layouts` asks."""

from __future__ import annotations

import string
from collections.abc import Collection

PLACEHOLDERS = ("model", "variant", "subject", "backend")


def wrong_pattern(pattern: str, known: Collection[str] = PLACEHOLDERS) -> tuple[str, str] | None:
    """What is wrong with a pattern, and the hint.

    Args:
        pattern: as it is written.
        known: the placeholders that stand for something.
    """
    names = ", ".join(f"{{{name}}}" for name in known)
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(pattern)]
    except ValueError as error:
        return f"`{pattern}` is no pattern: {error}", f"write placeholders as one of {names}"
    for name, spec, conversion in fields:
        if name is not None and (name not in known or spec or conversion):
            strange = name not in PLACEHOLDERS or name in known  # one of ours, with an end that ours have not
            what = f"unknown placeholder `{{{name}}}`" if strange else f"`{{{name}}}` stands for nothing here"
            return what, f"use {names}"
    unsafe = "\\" in pattern or ":" in pattern or not pattern.isprintable()
    if unsafe or not {"", ".", ".."}.isdisjoint(pattern.split("/")):
        return f"`{pattern}` is not a path inside the product", "write names with `/` between, without `.` and `..`"
    return None
