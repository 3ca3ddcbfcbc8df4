"""How far a transfer of files is: a bar on a terminal, a line for each file elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from .events import BrokenPipeSafeStream, size

Arrived = Callable[[str, int], None]
"""Is told of each file: its name, and its size in bytes."""


@contextmanager
def shown(stream: TextIO, files: int, total: int) -> Iterator[Arrived]:
    """Show a transfer of so many files and bytes while the block runs."""
    with _bar(stream, total) if stream.isatty() else _lines(stream, files) as arrived:
        yield arrived


@contextmanager
def _bar(stream: TextIO, total: int) -> Iterator[Arrived]:
    from rich.console import Console  # noqa: PLC0415 - rich is for terminals
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("", total=total)

        def arrived(name: str, count: int) -> None:
            progress.update(task, advance=count, description=name.replace("[", r"\["))

        yield arrived


@contextmanager
def _lines(stream: TextIO, files: int) -> Iterator[Arrived]:
    out, number = BrokenPipeSafeStream(stream), 0

    def arrived(name: str, count: int) -> None:
        nonlocal number
        number += 1
        out.write(f"[{number:>{len(str(files))}}/{files}] {name}: {size(count)}\n")
        out.flush()

    yield arrived
