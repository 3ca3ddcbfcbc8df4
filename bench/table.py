"""Tables for people: as Markdown, and into their place in a page of the documentation.

`main` is the command line of the scripts that make one.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from measure import Failed
from project import PAGE


def parser(about: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """The options that such scripts share; `about` is their docstring, `rounds` how many they make by default."""
    made = argparse.ArgumentParser(description=str(about).partition("\n")[0])
    made.add_argument("--write", action="store_true", help="put the table into the documentation")
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    return made


def main(name: str, options: argparse.ArgumentParser, measured: Callable[[argparse.Namespace, Path], str]) -> None:
    """Measure in a new folder, print, and write if asked: into the page's marks of that name."""
    asked = options.parse_args()
    start = machine()
    try:
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            text = f"{start}\n\n{measured(asked, Path(folder).resolve())}"
    except Failed as error:
        sys.exit(str(error))
    print(text)
    if asked.write:
        write(PAGE, name, text)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned in the source, too; the first to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def machine() -> str:
    """One line about where and when this was measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    return (
        f"{dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {cores} cores, load average {load:.1f} at the start."
    )


def write(page: Path, name: str, text: str) -> None:
    """Put a text between the page's marks `<!-- name -->` and `<!-- /name -->`; they are added where they lack."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    content = page.read_text(encoding="utf-8") if page.exists() else ""
    if begin not in content:
        content += f"\n{begin}\n{end}\n"
    before, _, rest = content.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
