"""The table at the end of a run: every cell, its size, its seconds, how it is proven. Facts come from the records."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.action import AnyAction
from pipeline.documents.report import verdict_in
from pipeline.engine.engine import Engine

from . import tables
from .events import size
from .failures import Failures

HEAD = ("what", "size", "seconds", "proven")


MANY = 200
"""Tasks above which only what this run has worked on is listed."""


def _rows(engine: Engine, failures: Failures) -> Iterator[tuple[str, str, str, str]]:
    """Cells first, products after them, in the order of the matrix; what was never built is left out.

    There is neither size nor time where what is there is of an earlier run and no longer right.
    """
    names = list(engine.actions if len(engine.actions) <= MANY else engine.outcomes)
    for action in (engine.actions[name] for name in names if engine.actions[name].proven_by):
        entry = engine.workspace.get(action.name)
        if entry is None:
            continue
        volume, seconds = size(sum(output.size for output in entry.outputs.values())), f"{entry.seconds:.1f}"
        if action.in_one_rename:
            yield f"{action.out}/", volume, seconds, _shipped(engine, action, failures)
        elif engine.status(action.name).fresh:
            yield action.subject, volume, seconds, _cell(engine, action, failures)
        else:
            yield action.subject, "–", "–", "not built"


def table(engine: Engine, failures: Failures, width: int | None = None) -> str:
    """The rows as aligned text; empty when there are none. This run's failures keep something from being proven."""
    listed = list(_rows(engine, failures))
    return "\n".join(tables.lines([HEAD, *listed], right={1, 2}, rule=True, width=width)) if listed else ""


def _cell(engine: Engine, action: AnyAction, failures: Failures) -> str:
    proven = _proven(engine, action.proven_by, failures, action.params.model.subject)
    note = engine.facts(action.name).get("note")
    return proven if note is None else f"{proven}; {note}"


def _shipped(engine: Engine, product: AnyAction, failures: Failures) -> str:
    """How a product in `dist/` is proven; where today's is not, the one that is there is older."""
    if not engine.status(product.name).fresh:
        return "of an earlier run: today's is not proven"
    return _proven(engine, product.proven_by, failures)


def _proven(engine: Engine, proof: str, failures: Failures, model: str = "") -> str:
    if not engine.status(proof).fresh:
        cause = failures.behind(proof)
        return "not proven" if cause is None else f"not proven: {cause} failed"
    verdict = verdict_in(engine.facts(proof))
    return verdict.models.get(model) or verdict.proven or "not proven"
