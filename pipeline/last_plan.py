"""The actions of the last complete run, kept so that a small change need not read and plan the whole matrix again.

When `snapshot.compare` finds that only files have changed which actions read or wrote, the session takes the plan
from here: the matrix, its lock and our code are as they were, so planning would give the same. Of eleven thousand
actions the thirty behind a changed file are decoded, and doit gets to see just those. It knows actions, and nothing of
their keys.
"""

from __future__ import annotations

import marshal
import os
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from . import snapshot
from .action import Action, Upstream
from .store.digest import DigestMemo
from .store.records import LINK, Output

FORMAT = 1

Body = tuple[Any, ...]


class Plan(Mapping[str, Action]):
    """Actions by name, in their order; decoded when asked for. `codes` are the digests of the code behind the steps."""

    def __init__(
        self,
        names: Sequence[str],
        bodies: Sequence[Body],
        downstream: Sequence[Sequence[int]],
        owners: Sequence[Sequence[int]],
        codes: Mapping[str, str],
    ) -> None:
        self.codes = codes
        self._names = names
        self._bodies = bodies
        self._downstream = downstream
        self._owners = owners
        self._index: dict[str, int] | None = None
        self._decoded: dict[str, Action] = {}

    def __getitem__(self, name: str) -> Action:
        action = self._decoded.get(name)
        if action is None:
            if self._index is None:
                self._index = {known: i for i, known in enumerate(self._names)}
            action = self._decoded[name] = _decode(self._bodies[self._index[name]])
        return action

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def behind(self, paths: Iterable[int]) -> tuple[str, ...] | None:
        """The actions that paths of the snapshot belong to and all behind them, in order.

        None where a path belongs to none: then it is part of what decides the plan itself.
        """
        todo: list[int] = []
        for path in paths:
            if not self._owners[path]:
                return None
            todo += self._owners[path]
        seen: set[int] = set()
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                todo += self._downstream[index]
        return tuple(self._names[index] for index in sorted(seen))

    def paths_of(self, names: Iterable[str]) -> Iterator[int]:
        """The numbers of the snapshot's paths that belong to one of these actions."""
        sought = set(names)
        wanted = {i for i, name in enumerate(self._names) if name in sought}
        return (number for number, owners in enumerate(self._owners) if not wanted.isdisjoint(owners))


@dataclass(frozen=True)
class Update:
    """A run for the sake of some changed files.

    Attributes:
        plan: all actions.
        names: those that may be stale, upstream before downstream.
        taken: the snapshot, with the states as they were when this process looked.
        looked: when that was, in ns.
    """

    plan: Plan
    names: tuple[str, ...]
    taken: snapshot.Snapshot
    looked: int

    def refreshed(self, outputs: Iterable[tuple[str, str, Output]], memo: DigestMemo) -> snapshot.Snapshot | None:
        """The snapshot after the run; None where it cannot be certain, or has other paths than before.

        Args:
            outputs: (path, action, output) of the actions in `names`, as they are now.
            memo: digests of files, for `state_of_output`.
        """
        numbers = {os.path.abspath(path): i for i, path in enumerate(self.taken.paths)}  # noqa: PTH100 - for every file
        states = self.taken.states
        made = set()
        for path, _, output in outputs:
            now = state_of_output(path, output, memo)
            number = numbers.get(path)
            if now is None or number is None:
                return None
            states[number * snapshot.FIELDS : (number + 1) * snapshot.FIELDS] = array("q", now)
            made.add(number)
        for number in self.plan.paths_of(self.names):
            if number not in made:
                before = tuple(states[number * snapshot.FIELDS : (number + 1) * snapshot.FIELDS])
                if snapshot.look(self.taken.paths[number]) != before or snapshot.is_recent(before, self.looked):
                    return None
        return self.taken


def update(targets: str, found: snapshot.Comparison) -> Update | None:
    """What to look at when only files have changed that actions read or wrote; None where more than that has."""
    data = snapshot.read_sealed(_path(targets), FORMAT)
    if data is None:
        return None
    names, bodies, downstream, owners, codes = marshal.loads(data)  # noqa: S302 - our own file, its checksum is right
    if len(owners) != len(found.snapshot.paths):
        return None
    plan = Plan(names, bodies, downstream, owners, codes)
    behind = plan.behind(found.changed)
    return None if behind is None else Update(plan, behind, found.snapshot, time.time_ns())


def state_of_output(path: str, output: Output, memo: DigestMemo) -> snapshot.State | None:
    """The state of an output, if its content is known to be what the record says."""
    try:
        now = os.stat(path)  # noqa: PTH116 - for every output there is
    except OSError:
        return None
    if output.mode != LINK and memo.peek(path, now) != output.sha256:
        return None
    return now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns


def save(targets: str, actions: Iterable[Action], paths: Mapping[str, Iterable[str]], codes: Mapping[str, str]) -> None:
    """Write the plan of a complete run.

    Args:
        targets: the matrix file.
        actions: all of them, upstream before downstream.
        paths: for each path of the snapshot, in its order, the names of the actions that read or wrote it.
        codes: step -> digest of its code.
    """
    listed = tuple(actions)
    index = {action.name: i for i, action in enumerate(listed)}
    downstream: list[list[int]] = [[] for _ in listed]
    for i, action in enumerate(listed):
        for edge in action.upstream.values():
            downstream[index[edge.action]].append(i)
    owners = [tuple(index[name] for name in names) for names in paths.values()]
    body = (
        tuple(index),
        tuple(map(_encode, listed)),
        tuple(map(tuple, downstream)),
        tuple(owners),
        dict(codes),
    )
    snapshot.write_sealed(_path(targets), FORMAT, marshal.dumps(body))


def _encode(action: Action) -> Body:
    upstream = tuple(chain.from_iterable((role, edge.action, edge.only) for role, edge in action.upstream.items()))
    return (
        action.step, action.subject, action.out, action.params, dict(action.files), upstream, action.tools,
        action.outputs, action.memory, action.doc,
    )  # fmt: skip


def _decode(body: Body) -> Action:
    step, subject, out, params, files, upstream, tools, outputs, memory, doc = body
    words = iter(upstream)
    edges = {role: Upstream(action, only) for role, action, only in zip(words, words, words, strict=True)}
    return Action(step, subject, out, params, files, edges, tools, outputs, memory, doc)


def _path(targets: str) -> str:
    return f"{snapshot.path_of(targets)}.plan"
