"""Placeholders in the words of a custom step and the paths of a layout: `{model}.ava3`. `{{` and `}}` are braces.

`layouts` looks for wrong ones. `custom_steps` fills in what the matrix knows, `pipeline.steps.custom` what is known
when the step runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def wrong_names(text: str, known: Collection[str]) -> Iterator[str]:
    """The names of placeholders that are not known; a single brace comes as it is."""
    for piece in _PIECES.finditer(text):
        name = piece[1]
        if name is None and len(piece[0]) == 1:
            yield piece[0]
        elif name is not None and name not in known:
            yield name


def filled(text: str, values: Mapping[str, str], *, later: Collection[str] = ()) -> str:
    """The text, in which all names are known, with values in place of them.

    Names that come `later` stay. Where there are any, braces that are no placeholders stay doubled.
    """

    def value(piece: re.Match[str]) -> str:
        name = piece[1]
        if name is None:
            return piece[0] if later else piece[0][0]
        if name in later:
            return piece[0]
        return values[name].replace("{", "{{").replace("}", "}}") if later else values[name]

    return _PIECES.sub(value, text)
