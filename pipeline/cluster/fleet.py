"""How long a run would take on several machines, and what limits it: list scheduling by longest path, from history.

`doit plan --workers` shows it. The rules are those of a run on a cluster: the near side plans, sends and gathers, one
order after the other; compiles and checks travel; cells of one lowering go to one machine. What machines have in memory
is not considered. Times are the last run's, so a machine that was busy then makes them long.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise

from pipeline.engine.dry_run import Forecast
from pipeline.engine.engine import Engine

SENDING = 0.05
"""Seconds that the near side takes for an order: key, lookup, receipt, outputs into the tree. It takes them in turn."""

LITTLE = 1.1
"""Twice the machines bring little when they make a run less than this many times as fast."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something to be done. Works of one family share what one machine does once; it is empty for none."""

    name: str
    seconds: float
    after: tuple[str, ...] = ()
    family: str = ""
    travels: bool = True


@dataclass(frozen=True, slots=True)
class Fleet:
    """A run on several machines.

    Attributes:
        elapsed: seconds by the clock.
        machine_seconds: what is paid for: every machine for all of that time.
        busy: the share of it in which they work.
        limit: which of `limits` is the longest: with it alone the run would take nearly as long.
        limits: seconds that each would take alone: the `work` by all machines, the longest `chain`, the largest
            `family` on its machine, `sending` one order after the other, and what the `near side` does itself.
    """

    machines: int
    elapsed: float
    machine_seconds: float
    busy: float
    limit: str
    limits: Mapping[str, float]


def fleets(works: Sequence[Work], machines: int, slots: int) -> Iterator[Fleet]:
    """Runs on 1, 2, 4, … and at last on that many machines, each of which does `slots` works at a time."""
    number = 1
    while number < machines:
        yield schedule(works, number, slots)
        number *= 2
    yield schedule(works, machines, slots)


def enough(found: Sequence[Fleet]) -> Fleet:
    """The last of growing fleets that is worth it."""
    return next((one for one, more in pairwise(found) if one.elapsed < LITTLE * more.elapsed), found[-1])


def works_of(engine: Engine, listed: Iterable[Forecast]) -> list[Work]:
    """What a run would have to do. Taking something from a store is not counted, nor what was never seen to run."""
    todo = {item.name: item for item in listed if item.may_run}
    return [
        Work(
            name,
            item.seconds or 0.0,
            tuple(other for other in engine.actions[name].waits_for if other in todo),
            engine.actions[name].shares,
            engine.actions[name].travels,
        )
        for name, item in todo.items()
    ]


def schedule(works: Sequence[Work], machines: int, slots: int, sending: float = SENDING) -> Fleet:
    """Do works on machines, of all that could begin the one first that has the longest way to the end.

    Works come before those that wait for them. Each machine, and the near side, has so many slots.
    """
    ways = _ways(works)
    run = _Run(ways, machines, max(1, slots), sending)
    elapsed = run.of(works)
    travelling = [work for work in works if work.travels]
    families: dict[str, float] = {}
    for work in travelling:
        families[work.family or work.name] = families.get(work.family or work.name, 0.0) + work.seconds
    limits = {
        "work": sum(work.seconds for work in travelling) / machines / max(1, slots),
        "chain": max(ways.values(), default=0.0),
        "family": max(families.values(), default=0.0) / max(1, slots),
        "sending": sending * len(travelling),
        "near side": sum(work.seconds for work in works if not work.travels) / max(1, slots),
    }
    paid = machines * elapsed
    busy = limits["work"] * machines / paid if paid else 0.0
    return Fleet(machines, elapsed, paid, busy, max(limits, key=lambda name: limits[name]), limits)


def _ways(works: Sequence[Work]) -> dict[str, float]:
    """By name, the longest way from the beginning of a work to the end of everything."""
    behind = dict.fromkeys((work.name for work in works), 0.0)
    for work in reversed(works):
        behind[work.name] += work.seconds
        for other in work.after:
            behind[other] = max(behind[other], behind[work.name])
    return behind


@dataclass
class _Run:
    """A run in simulated time. Machine -1 is the near side."""

    ways: Mapping[str, float]
    machines: int
    slots: int
    sending: float
    now: float = 0.0
    sent: float = 0.0
    used: dict[int, int] = field(default_factory=dict)
    homes: dict[str, int] = field(default_factory=dict)
    ready: list[tuple[float, int, Work]] = field(default_factory=list)
    at_home: dict[int, list[tuple[float, int, Work]]] = field(default_factory=dict)
    ends: list[tuple[float, int, int, Work]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=count)

    def of(self, works: Sequence[Work]) -> float:
        """Seconds that the works take."""
        self.used = dict.fromkeys(range(-1, self.machines), 0)
        self.at_home = {machine: [] for machine in self.used}
        left = {work.name: len(set(work.after)) for work in works}
        behind: dict[str, list[Work]] = {}
        for work in works:
            for other in dict.fromkeys(work.after):
                behind.setdefault(other, []).append(work)
            if not left[work.name]:
                self._offer(work)
        self._begin()
        while self.ends:
            self.now, _, machine, done = heapq.heappop(self.ends)
            self.used[machine] -= 1
            for work in behind.get(done.name, ()):
                left[work.name] -= 1
                if not left[work.name]:
                    self._offer(work)
            self._begin()
        return self.now

    def _offer(self, work: Work) -> None:
        """Queue a work that can begin: where it must be done, or for whoever is free first."""
        home = self.homes.get(work.family) if work.family else None
        queue = self.ready if work.travels and home is None else self.at_home[-1 if home is None else home]
        heapq.heappush(queue, (-self.ways[work.name], next(self.order), work))

    def _begin(self) -> None:
        """Begin all that there is room for."""
        self._begin_at_home()
        while self.ready:
            machine = min(range(self.machines), key=lambda one: self.used[one])
            if self.used[machine] >= self.slots:
                return
            work = heapq.heappop(self.ready)[2]
            if work.family in self.homes:  # a relative went first
                self._offer(work)
                continue
            if work.family:
                self.homes[work.family] = machine
            self._start(work, machine)
        self._begin_at_home()

    def _begin_at_home(self) -> None:
        for machine, queue in self.at_home.items():
            while queue and self.used[machine] < self.slots:
                self._start(heapq.heappop(queue)[2], machine)

    def _start(self, work: Work, machine: int) -> None:
        self.used[machine] += 1
        begins = self.now
        if work.travels:
            begins = self.sent = max(self.sent, self.now) + self.sending
        heapq.heappush(self.ends, (begins + work.seconds, next(self.order), machine, work))
