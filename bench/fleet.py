"""How far does one matrix scale? 10,000 cells on 1 to 256 machines, forecast and simulated.

    python bench/fleet.py            # 1,000 models × 10 backends; a minute
    python bench/fleet.py --models 100
    python bench/fleet.py --write    # puts the table into docs/explanation/scale.md

Costs are made: lowering takes a lognormal time around 24 s (sigma 0.8: from a few seconds to some minutes), host code
3.3 s, as Qwen3-0.6B takes; four Apple cells of a model share a lowering. The forecast is that of `doit plan --workers`
and knows these costs. The simulation is of our own, a queue of events, and knows less, as a run does: it begins what is
ready in the order of the plan, no longest way first; a machine gets as many orders as it has slots and one to wait; a
cell takes another time than was forecast (lognormal, sigma 0.2); a machine's first order takes 7 s more.
It has neither losses nor failures, and no network.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count

import table
from measure import Failed
from project import ROOT

from pipeline.cluster.fleet import SENDING, Fleet, Work, schedule

PAGE = ROOT / "docs" / "explanation" / "scale.md"
MACHINES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SLOTS = 4
WARM = 7.0
NOISE = 0.2
CLOSE = 0.15
"""How far a forecast may be from the simulation, as a share of it."""
APPLE = ("ios", "ios-sim", "catalyst-arm64", "catalyst-x86_64")
OTHERS = ("android", "webgpu", "vulkan", "host", "linux-arm64", "wasm")


def matrix(models: int) -> list[Work]:
    """A matrix of that many models and ten backends, with made costs."""
    chance = random.Random(1)
    works: list[Work] = []
    for number in range(models):
        weights = Work(f"weights:m{number}", 0.2, travels=False)
        works.append(weights)
        for backend in (*APPLE, *OTHERS):
            device = "metal" if backend in APPLE else backend
            shared = backend in APPLE[1:]
            lowering = 0.0 if shared else 24.0 * chance.lognormvariate(0.0, 0.8)
            name = f"compile:m{number}@{backend}"
            works.append(Work(name, lowering + 3.3, (weights.name,), f"m{number}@{device}"))
    for backend in (*APPLE, *OTHERS):
        cells = tuple(f"compile:m{number}@{backend}" for number in range(models))
        works.append(Work(f"archive:{backend}", 0.02 * models, cells, travels=False))
        works.append(Work(f"verify:{backend}", 0.05 * models, (f"archive:{backend}",), travels=False))
    works.append(Work("product", 5.0, tuple(f"verify:{backend}" for backend in (*APPLE, *OTHERS)), travels=False))
    return works


class Simulation:
    """A run in simulated time that has to find out what things cost. Machine -1 is the near side."""

    def __init__(self, works: Sequence[Work], machines: int, seed: int) -> None:
        chance = random.Random(seed)
        self.takes = {work.name: work.seconds * chance.lognormvariate(0.0, NOISE) for work in works}
        self.turn = {work.name: number for number, work in enumerate(works)}
        self.left = {work.name: len(set(work.after)) for work in works}
        self.behind: dict[str, list[Work]] = defaultdict(list)
        for work in works:
            for other in set(work.after):
                self.behind[other].append(work)
        self.given = [0] * machines  # orders of each machine, with the one that waits there
        self.waiting: list[list[Work]] = [[] for _ in range(machines)]
        self.held: list[list[tuple[int, Work]]] = [
            [] for _ in range(machines)
        ]  # for the home of a family, which is full
        self.homes: dict[str, int] = {}
        self.warm: set[int] = set()
        self.ready: list[tuple[int, Work]] = []
        self.local: list[tuple[int, Work]] = []
        self.near, self.now, self.sent = SLOTS, 0.0, 0.0
        self.events: list[tuple[float, int, int, Work]] = []
        self.ticket = count()
        for work in works:
            if not self.left[work.name]:
                self.offer(work)

    def run(self) -> float:
        """Seconds until the end.

        Raises:
            Failed: something was never begun.
        """
        self.dispatch()
        while self.events:
            self.now, _, machine, done = heapq.heappop(self.events)
            if machine < 0:
                self.near += 1
            else:
                self.free(machine)
            for work in self.behind[done.name]:
                self.left[work.name] -= 1
                if not self.left[work.name]:
                    self.offer(work)
            self.dispatch()
        if any(self.left.values()):
            raise Failed("the simulation stopped before the end")
        return self.now

    def offer(self, work: Work) -> None:
        """A work can begin."""
        heapq.heappush(self.ready if work.travels else self.local, (self.turn[work.name], work))

    def dispatch(self) -> None:
        """Begin what is ready, in the order of the plan."""
        while self.local and self.near:
            self.near -= 1
            self.begin(-1, heapq.heappop(self.local)[1], self.now)
        while self.ready:
            turn, work = self.ready[0]
            machine = self.homes.get(work.family)
            if machine is None:
                machine = min(range(len(self.given)), key=lambda one: self.given[one])
                if self.given[machine] > SLOTS:
                    return
            heapq.heappop(self.ready)
            self.homes[work.family] = machine
            if self.given[machine] > SLOTS:
                heapq.heappush(self.held[machine], (turn, work))
            else:
                self.send(machine, work)

    def send(self, machine: int, work: Work) -> None:
        """Give an order to a machine."""
        self.sent = max(self.sent, self.now) + SENDING
        self.given[machine] += 1
        if self.given[machine] <= SLOTS:
            self.begin(machine, work, self.sent)
        else:
            self.waiting[machine].append(work)

    def free(self, machine: int) -> None:
        """A machine has done something."""
        self.given[machine] -= 1
        if self.waiting[machine]:
            self.begin(machine, self.waiting[machine].pop(0), self.now)
        if self.held[machine]:
            self.send(machine, heapq.heappop(self.held[machine])[1])

    def begin(self, machine: int, work: Work, at: float) -> None:
        """A work begins."""
        first = 0.0 if machine < 0 or machine in self.warm else WARM
        self.warm.add(machine)
        heapq.heappush(self.events, (at + first + self.takes[work.name], next(self.ticket), machine, work))


def simulated(works: Sequence[Work], machines: int, seed: int = 2) -> float:
    """Seconds that a run takes."""
    return Simulation(works, machines, seed).run()


def rows(works: Sequence[Work], found: list[Fleet]) -> Iterator[list[str]]:
    """The rows of the table; the forecasts are added to `found`.

    Raises:
        Failed: a forecast is far from its simulation.
    """
    far: list[str] = []
    base = simulated(works, 1)
    for machines in MACHINES:
        fleet = schedule(works, machines, SLOTS)
        seconds = simulated(works, machines)
        found.append(fleet)
        error = fleet.elapsed / seconds - 1
        if fleet.limit == "work" and abs(error) > CLOSE:
            far.append(f"{machines} machines: {fleet.elapsed:.0f} s forecast, {seconds:.0f} s simulated")
        yield [
            str(machines), f"{seconds / 60:.1f}", f"{fleet.elapsed / 60:.1f}", f"{error:+.1%}",
            f"{base / seconds:.1f}", f"{machines * seconds / 3600:.1f}", f"{fleet.busy:.0%}", fleet.limit,
        ]  # fmt: skip
    if far:
        raise Failed("\n".join(far))


def main() -> None:
    """Simulate, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    asked = parser.parse_args()
    began = time.monotonic()
    works = matrix(asked.models)
    found: list[Fleet] = []
    head = ["machines", "minutes", "forecast", "error", "× one", "machine-hours", "busy", "limit"]
    text = table.markdown(head, list(rows(works, found)))
    last = found[-1]
    limits = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in last.limits.items())
    text += (
        f"\n\n{len(works):,} tasks, {10 * asked.models:,} of them cells; {SLOTS} at a time on each machine. Minutes "
        f"that each limit would take alone on {last.machines} machines: {limits}."
    )
    print(text)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.write:
        table.write(PAGE, "fleet", text)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
