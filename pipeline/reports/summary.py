"""The table at the end of a run: every cell, its size, its seconds, how it is proven. Facts come from the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.action import AnyAction
from pipeline.documents.report import verdict_in
from pipeline.engine.engine import Engine

from . import tables
from .events import size

HEAD = ("what", "size", "seconds", "proven")


class Row(NamedTuple):
    """One line of the table: a cell or a product. `proven` says how, or that it is not.

    Size and seconds are None where what is there is of an earlier run and no longer right.
    """

    what: str
    bytes: int | None
    seconds: float | None
    proven: str


MANY = 200
"""Tasks above which only what this run has worked on is listed."""


def rows(engine: Engine) -> Iterator[Row]:
    """Cells first, products after them, in the order of the matrix; what was never built is left out."""
    names = list(engine.actions if len(engine.actions) <= MANY else engine.outcomes)
    listed = [action for name in names if (action := engine.actions[name]).proven_by]
    products: dict[str, list[AnyAction]] = {}
    for action in listed:
        if action.shares_out:
            products.setdefault(action.out, []).append(action)
        else:
            yield from _row(engine, action.subject, [action], action.params.model.subject)
    for out, makers in products.items():
        yield from _row(engine, f"{out}/", makers)


def table(engine: Engine, width: int | None = None) -> str:
    """The rows as aligned text; empty when there are none. `width` is that of the terminal, where it goes to one."""
    listed = [
        (
            row.what,
            "–" if row.bytes is None else size(row.bytes),
            "–" if row.seconds is None else f"{row.seconds:.1f}",
            row.proven,
        )
        for row in rows(engine)
    ]
    return "\n".join(tables.lines([HEAD, *listed], right={1, 2}, rule=True, width=width)) if listed else ""


def _row(engine: Engine, what: str, makers: Sequence[AnyAction], model: str | None = None) -> Iterator[Row]:
    entries = [entry for maker in makers if (entry := engine.workspace.get(maker.name)) is not None]
    if not entries:
        return
    if not all(engine.status(maker.name).fresh for maker in makers):
        yield Row(what, None, None, "not built")
        return
    total = sum(output.size for entry in entries for output in entry.outputs.values())
    seconds = sum(entry.seconds for entry in entries)
    records = [record for entry in entries if (record := engine.store.record(entry.key)) is not None]
    notes = [str(record.facts["note"]) for record in records if "note" in record.facts]
    yield Row(what, total, seconds, "; ".join([_proven(engine, makers[0].proven_by, model), *notes]))


def _proven(engine: Engine, proof: str, model: str | None) -> str:
    entry = engine.workspace.get(proof)
    record = engine.store.record(entry.key) if entry is not None else None
    if record is None or not engine.status(proof).fresh:
        return "not proven"
    verdict = verdict_in(record.facts)
    return verdict.models.get(model or "") or verdict.proven or "not proven"
