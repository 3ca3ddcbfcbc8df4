"""The actions of the last complete run, kept so that a small change need not read and plan the whole matrix again.

When `snapshot.compare` finds that only files have changed which actions read or wrote, the session takes the plan
from here: the matrix, its lock and our code are as they were, so planning would give the same. Of eleven thousand
actions the thirty behind a changed file are decoded, and doit gets to see just those. It knows actions, and nothing of
their keys.
"""

from __future__ import annotations

import marshal
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from . import snapshot
from .action import Action, Upstream

FORMAT = 104
"""Never one of the snapshot's own: the two files lie side by side, and may be taken for each other."""


class Rows(NamedTuple):
    """A list of lists of numbers as two arrays, which are read at once however long they are."""

    ends: array[int]
    numbers: array[int]

    @staticmethod
    def of(rows: Iterable[Iterable[int]]) -> Rows:
        """Put lists one after the other."""
        ends, numbers = array("l"), array("l")
        for row in rows:
            numbers.extend(row)
            ends.append(len(numbers))
        return Rows(ends, numbers)

    def row(self, index: int) -> array[int]:
        """One of the lists."""
        return self.numbers[self.ends[index - 1] if index else 0 : self.ends[index]]

    def packed(self) -> tuple[bytes, bytes]:
        """For `marshal`."""
        return self.ends.tobytes(), self.numbers.tobytes()

    @staticmethod
    def unpacked(packed: tuple[bytes, bytes]) -> Rows:
        """From `marshal`."""
        ends, numbers = packed
        return Rows(array("l", ends), array("l", numbers))


class Plan(Mapping[str, Action]):
    """Actions by name, in their order; decoded when asked for.

    Args:
        names: of the actions.
        outs: the directory of each.
        bodies: each, encoded.
        downstream: for each the numbers of the actions that read it.
        owners: for each path of the snapshot the numbers of the actions that read or wrote it.
        codes: the digests of the code behind the steps.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        outs: Sequence[str],
        bodies: Sequence[bytes],
        downstream: Rows,
        owners: Rows,
        codes: Mapping[str, str],
    ) -> None:
        self.codes = codes
        self._names = names
        self._outs = outs
        self._bodies = bodies
        self._downstream = downstream
        self._owners = owners
        self._decoded: dict[str, Action] = {}

    @cached_property
    def _index(self) -> dict[str, int]:
        return dict(zip(self._names, range(len(self._names)), strict=True))

    def __getitem__(self, name: str) -> Action:
        action = self._decoded.get(name)
        if action is None:
            action = self._decoded[name] = _decode(self._bodies[self._index[name]])
        return action

    def out_of(self, name: str) -> str:
        """The directory of an action, which need not be decoded for that."""
        return self._outs[self._index[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def behind(self, paths: Iterable[int]) -> tuple[str, ...] | None:
        """The actions that paths of the snapshot belong to and all behind them, in order.

        None where a path belongs to none: then it is part of what decides the plan itself.
        """
        todo = array("l")
        for path in paths:
            owners = self._owners.row(path)
            if not owners:
                return None
            todo += owners
        seen: set[int] = set()
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                todo += self._downstream.row(index)
        return tuple(self._names[index] for index in sorted(seen))


@dataclass(frozen=True)
class Update:
    """A run for the sake of some changed files.

    Attributes:
        plan: all actions.
        names: those that may be stale, upstream before downstream.
        taken: the snapshot, with the states as they were when this process looked.
        looked: when that was, in ns.
        file: the state of the snapshot's own file at that time.
    """

    plan: Plan
    names: tuple[str, ...]
    taken: snapshot.Snapshot
    looked: int
    file: snapshot.State

    def holds(self, targets: str) -> bool:
        """Whether no other run has begun since we looked: each takes the snapshot away."""
        return snapshot.look(snapshot.path_of(targets)) == self.file

    def refreshed(
        self,
        inputs: Iterable[tuple[str, str]],
        outputs: Iterable[tuple[str, str, snapshot.State | None]],
    ) -> snapshot.Snapshot | None:
        """The snapshot after the run; None where it cannot be certain, or has other paths than before.

        Args:
            inputs: (path, action) of the files that the actions in `names` read.
            outputs: (path, action, state) of what they have made; see `run.settled`.
        """
        _, paths, states = self.taken
        numbers = dict(zip(paths, range(0, len(states), snapshot.FIELDS), strict=True))
        here = snapshot.here()
        for path, _, now in outputs:
            at = numbers.get(path.removeprefix(here))
            if now is None or at is None:
                return None
            states[at : at + snapshot.FIELDS] = array("q", now)
        for path, _ in inputs:
            at = numbers.get(path.removeprefix(here))
            if at is None:
                return None
            before = tuple(states[at : at + snapshot.FIELDS])
            if snapshot.look(path) != before or snapshot.is_recent(before, self.looked):
                return None
        return self.taken


def update(targets: str, found: snapshot.Comparison) -> Update | None:
    """What to look at when only files have changed that actions read or wrote; None where more than that has."""
    data = snapshot.read_sealed(_path(targets), FORMAT)
    if data is None:
        return None
    names, outs, bodies, downstream, owners, codes = marshal.loads(data)  # noqa: S302 - our own file, its checksum right
    of_path = Rows.unpacked(owners)
    if len(of_path.ends) != len(found.snapshot.paths):
        return None
    plan = Plan(
        names=names, outs=outs, bodies=bodies, downstream=Rows.unpacked(downstream), owners=of_path, codes=codes
    )
    behind = plan.behind(found.changed)
    return None if behind is None else Update(plan, behind, found.snapshot, time.time_ns(), found.file)


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
    body = (
        tuple(index),
        tuple(action.out for action in listed),
        tuple(map(_encode, listed)),
        Rows.of(downstream).packed(),
        Rows.of([index[name] for name in names] for names in paths.values()).packed(),
        dict(codes),
    )
    snapshot.write_sealed(_path(targets), FORMAT, marshal.dumps(body))


def _encode(action: Action) -> bytes:
    upstream = tuple(chain.from_iterable((role, edge.action, edge.only) for role, edge in action.upstream.items()))
    body: tuple[Any, ...] = (
        action.step, action.subject, action.out, dict(action.params), dict(action.files), upstream, action.tools,
        action.outputs, action.memory, action.doc, action.module, action.apart,
    )  # fmt: skip
    return marshal.dumps(body)


def _decode(body: bytes) -> Action:
    step, subject, out, params, files, upstream, tools, outputs, memory, doc, module, apart = marshal.loads(body)  # noqa: S302 - as above
    words = iter(upstream)
    edges = {role: Upstream(action, only) for role, action, only in zip(words, words, words, strict=True)}
    return Action(step, subject, out, params, files, edges, tools, outputs, memory, doc, module=module, apart=apart)


def _path(targets: str) -> str:
    return f"{snapshot.path_of(targets)}.plan"
