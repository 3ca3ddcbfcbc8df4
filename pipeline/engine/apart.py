"""Runs an action that is no part of the matrix, on what the matrix has built: `doit bench` comes here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.action import AnyAction
from pipeline.errors import StepError

from .engine import Engine
from .executor import ExecutionResult
from .status import and_more


@contextmanager
def apart(engine: Engine, action: AnyAction) -> Iterator[ExecutionResult]:
    """Run an action; what it leaves is there while the block runs, and kept nowhere.

    Raises:
        SlipwayError: what it reads is stale, or it failed.
    """
    if behind := engine.stale_before(action):
        raise StepError(f"{behind[0]} is stale{and_more(behind)}", hint=f"build it first: doit {' '.join(behind)}")
    engine.fetch_upstream(action)
    made = engine.executor.run(action, engine.resolved(action, engine.views.of(action)), action.memory)
    try:
        yield made
    finally:
        engine.executor.clear_away(made.out)
