"""What a run would do, without doing it: the engine's own verdicts, carried on past the first stale action.

Where an action is stale but the store has its result, that result says what the actions behind it would read: so their
keys are known too, and in a fresh clone with a full store everything is foreseen. What comes after an action that must
really be built cannot be known. `commands` show it; nothing is built, fetched or written here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.action import AnyAction
from pipeline.errors import MatrixError, SlipwayError
from pipeline.nearest import did_you_mean
from pipeline.store.action_result import ActionResult, Output, digests_of

from . import keys
from .engine import Engine

State = Literal["fresh", "restore", "fetch", "build", "unknown", "blocked"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of one action.

    Attributes:
        state: `restore` from the store here, `fetch` from the remote one; `unknown` means that something upstream is
            to be built first, and only its result can tell; `blocked` that it could not even start.
        seconds: what it took when it was last built, here or on the machine that filled the store; None if unknown.
        key: today's key; None if it cannot be known yet.
    """

    name: str
    state: State
    reason: str
    seconds: float | None
    key: str | None

    @property
    def may_run(self) -> bool:
        """Whether its step may have to run."""
        return self.state in {"build", "unknown"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a run may take, as far as earlier runs tell.

    Attributes:
        certain: seconds of work that is to be done for sure.
        at_most: the same with all that is `unknown`.
        elapsed: seconds by the clock, when `at_most` is shared by `jobs` workers and nothing starts too early.
        without_history: tasks that may run and were never seen to: they are in none of these figures.
    """

    certain: float
    at_most: float
    elapsed: float
    jobs: int
    without_history: int


def forecast(engine: Engine, names: Iterable[str] | None = None) -> Iterator[Forecast]:
    """Yield a forecast for the named actions (or steps) and all they need, upstream first.

    Raises:
        MatrixError: a name is neither a task nor a step.
    """
    wanted = needed(engine, names) if names is not None else set(engine.actions)
    view = _View(engine)
    for name in engine.actions:
        if name in wanted:
            yield view.of(engine.actions[name])


def needed(engine: Engine, names: Iterable[str]) -> set[str]:
    """The named actions (a step names all of its own) and everything upstream of them.

    Raises:
        MatrixError: a name is neither a task nor a step.
    """
    todo = named(engine, names)
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += engine.actions[name].waits_for
    return seen


def named(engine: Engine, names: Iterable[str]) -> list[str]:
    """Actions by name; a step names all of its own.

    Raises:
        MatrixError: a name is neither a task nor a step.
    """
    found: dict[str, None] = {}
    for name in names:
        some = [name] if name in engine.actions else [n for n, action in engine.actions.items() if action.step == name]
        if not some:
            hint = did_you_mean(name, {**engine.actions, **{a.step: a for a in engine.actions.values()}}, "{}")
            raise MatrixError(f"{name!r} is not a task", hint=hint or "doit list --all shows the tasks")
        found |= dict.fromkeys(some)
    return list(found)


def estimate(engine: Engine, listed: Sequence[Forecast], jobs: int) -> Estimate:
    """Add up what a run of so many jobs at a time would cost. Taking something from a store is not counted.

    What is listed is upstream first, as `forecast` gives it.
    """
    may_run = [item for item in listed if item.may_run]
    free = [0.0] * max(1, min(jobs, len(may_run)))
    ends: dict[str, float] = {}
    for item in may_run:
        ready = max((ends.get(other, 0.0) for other in engine.actions[item.name].waits_for), default=0.0)
        ends[item.name] = max(ready, heapq.heappop(free)) + (item.seconds or 0.0)
        heapq.heappush(free, ends[item.name])
    return Estimate(
        certain=sum(item.seconds or 0.0 for item in listed if item.state == "build"),
        at_most=sum(item.seconds or 0.0 for item in may_run),
        elapsed=max(ends.values(), default=0.0),
        jobs=jobs,
        without_history=sum(item.seconds is None for item in may_run),
    )


class _View:
    """The tree as it will be: what each action's outputs are now, or will be once they come from a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._recorded: Mapping[str, float] | None = None
        self._outputs: dict[str, Mapping[str, Output]] = {}
        self._blocked: set[str] = set()

    def of(self, action: AnyAction) -> Forecast:
        """Foresee one action; all upstream of it must have been asked for before."""
        try:
            state, reason, key = self._foresee(action)
        except SlipwayError as error:
            state, reason, key = "blocked", error.headline, None
        if state == "blocked":
            self._blocked.add(action.name)
        return Forecast(action.name, state, reason, self._seconds(action.name), key)

    def _seconds(self, name: str) -> float | None:
        """What an action took when it was last built: here, else for the newest record of that name in the store."""
        entry = self._engine.workspace.get(name)
        if entry is not None:
            return entry.seconds
        if self._recorded is None:
            self._recorded = {record.name: record.seconds for record in self._engine.store.records.all()}
        return self._recorded.get(name)

    def _foresee(self, action: AnyAction) -> tuple[State, str, str | None]:
        """State, reason and key."""
        hindered = self._hindered(action)
        if hindered is not None:
            return (*hindered, None)
        key, reason = self._key(action)
        entry = self._engine.workspace.get(action.name)
        if not reason and entry is not None:
            self._outputs[action.name] = entry.outputs
            return "fresh", "", key
        if entry is not None and entry.forgotten:
            return "build", reason, key
        state, record = self._stored(key)
        if record is not None:
            self._outputs[action.name] = record.outputs
            if state == "fetch" and record.blobs() and not self._engine.bytes_wanted(action):
                reason += "; its outputs stay in the remote store until a task reads them"
        return state, reason, key

    def _hindered(self, action: AnyAction) -> tuple[State, str] | None:
        """Why nothing more can be foreseen of an action, if that is so."""
        if self._engine.workspace.ignored(action.name):
            return "blocked", f"ignored, as asked by `doit ignore` (`doit forget {action.name}` ends that)"
        for other in action.waits_for:
            if other in self._blocked:
                return "blocked", f"{other} is blocked"
        for other in action.waits_for:
            if other not in self._outputs:
                return "unknown", f"{other} is to be built first"
        return None

    def _key(self, action: AnyAction) -> tuple[str, str]:
        """The key that the action will have, and why it will not be up to date; empty when it will."""
        engine = self._engine
        status = engine.status(action.name)
        if not status.fresh and status.key is None:
            fields = engine.inputs.document(action, {role: self._read(role, action) for role in action.upstream})
            status = engine.compare(action, fields)
        entry = engine.workspace.get(action.name)
        return status.key or (entry.key if entry is not None else ""), status.reason

    def _read(self, role: str, action: AnyAction) -> dict[str, str]:
        edge = action.upstream[role]
        return keys.read_by(edge, digests_of(self._outputs[edge.action]))

    def _stored(self, key: str) -> tuple[State, ActionResult | None]:
        store = self._engine.store
        where = store.state(key)
        if where == "local":
            return "restore", store.record(key)
        if where == "remote" and store.remote is not None:
            record = store.record(key) or store.remote.record(key)
            if record is not None:
                return "fetch", record
        return "build", None
