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
from functools import cached_property, partial
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

from . import snapshot
from .action import Action, Upstream
from .mapped import content

FORMAT = 107
"""Never one of the snapshot's own: the two files lie side by side, and may be taken for each other."""

HEAD = 8
"""Bytes that say how long the head of the file is. Behind the head are bodies and rows, which are used as they lie."""


class Rows(NamedTuple):
    """A list of lists of numbers as two arrays, which need not be read but where somebody looks."""

    ends: memoryview
    numbers: memoryview

    @staticmethod
    def of(rows: Iterable[Iterable[int]]) -> Rows:
        """Put lists one after the other."""
        ends, numbers = array("l"), array("l")
        for row in rows:
            numbers.extend(row)
            ends.append(len(numbers))
        return Rows(memoryview(ends), memoryview(numbers))

    def row(self, index: int) -> memoryview:
        """One of the lists."""
        return self.numbers[self.ends[index - 1] if index else 0 : self.ends[index]]


class Plan(Mapping[str, Action]):
    """Actions by name, in their order; decoded when asked for.

    Args:
        names: of the actions.
        outs: the directory of each.
        bodies: each, encoded; a list of bytes.
        downstream: for each the numbers of the actions that read it.
        owners: for each path of the snapshot the numbers of the actions that read or wrote it.
        files: for each action the numbers of those paths.
        codes: the digests of the code behind the steps.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        outs: Sequence[str],
        bodies: Rows,
        downstream: Rows,
        owners: Rows,
        files: Rows,
        codes: Mapping[str, str],
    ) -> None:
        self.codes = codes
        self._names = names
        self._outs = outs
        self._bodies = bodies
        self._downstream = downstream
        self._owners = owners
        self._files = files
        self._decoded: dict[str, Action] = {}

    @property
    def paths(self) -> int:
        """How many paths the snapshot had."""
        return len(self._owners.ends)

    @cached_property
    def _index(self) -> dict[str, int]:
        return dict(zip(self._names, range(len(self._names)), strict=True))

    def __getitem__(self, name: str) -> Action:
        action = self._decoded.get(name)
        if action is None:
            action = self._decoded[name] = _decode(self._bodies.row(self._index[name]), self._names)
        return action

    def out_of(self, name: str) -> str:
        """The directory of an action, which need not be decoded for that."""
        return self._outs[self._index[name]]

    def files(self, name: str) -> memoryview:
        """The numbers of the paths that an action reads or writes."""
        return self._files.row(self._index[name])

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


class Update(NamedTuple):
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
        _, paths, states, _ = self.taken
        here = snapshot.here()
        made = {path.removeprefix(here): now for path, _, now in outputs}
        read = {path.removeprefix(here) for path, _ in inputs}
        numbers = {paths[at]: at * snapshot.FIELDS for name in self.names for at in self.plan.files(name)}
        if not numbers.keys() >= made.keys() | read:
            return None
        for path, now in made.items():
            if now is None:
                return None
            at = numbers[path]
            states[at : at + snapshot.FIELDS] = array("q", now)
        for path in read:
            at = numbers[path]
            before = tuple(states[at : at + snapshot.FIELDS])
            if snapshot.look(path) != before or snapshot.is_recent(before, self.looked):
                return None
        return self.taken


def update(targets: str, found: snapshot.Comparison) -> Update | None:
    """What to look at when only files have changed that actions read or wrote; None where more than that has."""
    plan = _read(targets)
    taken, changed = found.complete()
    if plan is None or plan.paths != len(taken.paths):
        return None
    behind = plan.behind(changed)
    return None if behind is None else Update(plan, behind, taken, time.time_ns(), found.file)


def _read(targets: str) -> Plan | None:
    data = content(_path(targets))
    body = None if data is None else snapshot.unsealed(data, FORMAT)
    if body is None:
        return None
    end = HEAD + int.from_bytes(body[:HEAD], "little")
    names, outs, codes, sizes = marshal.loads(body[HEAD:end])  # noqa: S302 - our own file, and its checksum is right
    texts, *links = (body[start:end] for start, end in pairwise(accumulate(sizes, initial=end)))
    ends, *numbers = (link.cast("l") if link else link for link in links)  # what is empty cannot be cast
    bodies, downstream, owners, files = Rows(ends, texts), Rows(*numbers[:2]), Rows(*numbers[2:4]), Rows(*numbers[4:])
    return Plan(names=names, outs=outs, bodies=bodies, downstream=downstream, owners=owners, files=files, codes=codes)


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
    files: list[list[int]] = [[] for _ in listed]
    owners = [[index[name] for name in names] for names in paths.values()]
    for at, those in enumerate(owners):
        for i in those:
            files[i].append(at)
    for i, action in enumerate(listed):
        for edge in action.upstream.values():
            downstream[index[edge.action]].append(i)
    bodies = [_encode(action, index) for action in listed]
    ends = memoryview(array("l", accumulate(map(len, bodies))))
    rows = chain.from_iterable(map(Rows.of, (downstream, owners, files)))
    parts = [b"".join(bodies), *(part.tobytes() for part in (ends, *rows))]
    head = marshal.dumps((tuple(index), tuple(action.out for action in listed), dict(codes), [*map(len, parts)]))
    snapshot.write_sealed(_path(targets), FORMAT, len(head).to_bytes(HEAD, "little"), head, *parts)


def _encode(action: Action, index: Mapping[str, int]) -> bytes:
    edges = action.upstream.values()
    upstream = tuple(action.upstream), tuple(index[edge.action] for edge in edges), tuple(edge.only for edge in edges)
    body: tuple[Any, ...] = (
        action.step, action.subject, action.out, dict(action.params), dict(action.files), upstream, action.tools,
        action.outputs, action.memory, action.doc, action.module, action.apart,
    )  # fmt: skip
    return marshal.dumps(body)


def _decode(body: Any, names: Sequence[str]) -> Action:
    step, subject, out, params, files, edges, tools, outputs, memory, doc, module, apart = marshal.loads(body)  # noqa: S302 - as above
    roles, numbers, only = edges
    edge = partial(tuple.__new__, Upstream)  # in half the time that Upstream takes
    upstream = dict(zip(roles, map(edge, zip(map(names.__getitem__, numbers), only, strict=True)), strict=True))
    return Action(step, subject, out, params, files, upstream, tools, outputs, memory, doc, module=module, apart=apart)


def _path(targets: str) -> str:
    return f"{snapshot.path_of(targets)}.plan"
