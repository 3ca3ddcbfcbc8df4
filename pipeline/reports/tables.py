"""Aligned tables of text; the summary of a run and verify-app print theirs with it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Collection, Iterator, Sequence

GAP = "  "
NARROWEST = 24
"""Columns that the last column needs beside the others; where it has fewer, it goes into lines of its own."""


def terminal_width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def lines(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), rule: bool = False, width: int | None = None
) -> Iterator[str]:
    """The lines of a table of equally long rows, the first of which is the heading, with a rule below it if wanted.

    The columns in `right` are aligned to the right. The last column is broken between words to fit the width, if any.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    beside = width is None or width - before >= min(NARROWEST, widths[-1])
    room = None if width is None else max(NARROWEST, width - before if beside else width - len(GAP) * 2)
    margin = before if beside else len(GAP) * 2
    ruler = tuple("-" * size if room is None else "-" * min(size, room) for size in widths)
    for number, row in enumerate([rows[0], *([ruler] if rule else []), *rows[1:]]):
        cells = [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row[:-1])]
        broken = [row[-1]] if room is None else textwrap.wrap(row[-1], room, break_long_words=False) or [""]
        if beside:
            yield GAP.join([*cells, broken.pop(0)]).rstrip()
        else:
            yield GAP.join(cells).rstrip()
            broken = broken if number and row is not ruler else []
        yield from (" " * margin + part for part in broken)
