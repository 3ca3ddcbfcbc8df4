"""What a run would do, without doing it: the engine's own verdicts, carried on past the first stale action.

`commands.plan`, `commands.graph` and `commands.cells` show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import MatrixError

from .engine import Engine

State = Literal["fresh", "restore", "fetch", "build", "unknown"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of one action.

    Attributes:
        name: the action.
        state: `unknown` means that something upstream is to be built first, and only its result can tell.
        reason: why it is not fresh.
        seconds: what it took the last time it was built, 0 where nobody knows.
    """

    name: str
    state: State
    reason: str
    seconds: float


def forecast(engine: Engine, names: Iterable[str] | None = None) -> Iterator[Forecast]:
    """Yield a forecast for the named actions (or steps) and all they need, upstream first.

    Raises:
        MatrixError: a name is neither a task nor a step.
    """
    wanted = _closure(engine, names) if names is not None else set(engine.actions)
    for name in engine.actions:
        if name in wanted:
            yield _of(engine, name)


def _of(engine: Engine, name: str) -> Forecast:
    verdict = engine.verdict(name)
    entry = engine.ledger.get(name)
    seconds = entry.seconds if entry is not None else 0.0
    if verdict.fresh:
        return Forecast(name, "fresh", "", seconds)
    if verdict.key is None:
        return Forecast(name, "unknown", verdict.reason, seconds)
    if entry is not None and entry.forgotten:
        return Forecast(name, "build", verdict.reason, seconds)
    where = engine.store.state(verdict.key)
    state: State = "restore" if where == "local" else "fetch" if where == "remote" else "build"
    return Forecast(name, state, verdict.reason, seconds)


def _closure(engine: Engine, names: Iterable[str]) -> set[str]:
    todo: list[str] = []
    for name in names:
        found = [n for n, action in engine.actions.items() if name in {n, action.step}]
        if not found:
            raise MatrixError(f"{name!r} is not a task", cure="doit list --all names them")
        todo += found
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [edge.action for edge in engine.actions[name].upstream.values()]
    return seen
