"""Which machine gets an order: one that has what it wants and room for it, the same for orders that share work."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

MEMORY = "memory"
"""The resource that is counted in bytes."""

_LOOKED_AGAIN = 2.0
"""Seconds after which somebody who waits for room looks which machines there are."""


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster, or one process of it.

    Attributes:
        slots: orders that it performs at one time.
        resources: what it says it has: bytes of `memory`, whether `xcode`, `gpu`, or what its owner calls it.
        called: what its owner calls it.
    """

    name: str
    slots: int
    resources: Mapping[str, float]
    called: str = ""

    def __str__(self) -> str:
        return self.called or self.name

    def has(self, wants: Mapping[str, float]) -> bool:
        """Whether it has all that is wanted. One that does not say how much memory it has may have enough."""
        return all(
            amount <= self.resources.get(name, amount if name == MEMORY else 0) for name, amount in wants.items()
        )


class Pool(Protocol):
    """A cluster: the seam between Slipway and whatever runs things elsewhere. Methods may be called from any thread."""

    def machines(self) -> Collection[Machine]:
        """Those that are there now; none when the cluster cannot be reached."""

    def executor(self, machine: Machine, wants: Mapping[str, float]) -> Executor:
        """What performs an order on this machine, and on no other. What it was given is lost when the machine is."""

    def connection(self) -> object:
        """What is another thing once the connection was lost: orders given before that may never be answered."""

    def close(self) -> None:
        """Leave the cluster; what it still does for us is not waited for."""


class Placement:
    """Hands out the room that machines have. One more order than a machine has slots waits there already."""

    def __init__(self, machines: Callable[[], Collection[Machine]]) -> None:
        self._machines = machines
        self._given: Counter[str] = Counter()
        self._homes: dict[str, str] = {}
        self._changed = threading.Condition()

    @contextmanager
    def room(self, family: str, wants: Mapping[str, float], avoid: Collection[str]) -> Iterator[Machine | None]:
        """Have room on a machine during the `with` block, waited for if need be; None where no machine will do.

        Orders of one family go to one machine, as long as that is there. `wants` are resources, `avoid` names of
        machines.
        """
        machine = self._take(family, wants, avoid)
        try:
            yield machine
        finally:
            if machine is not None:
                with self._changed:
                    self._given[machine.name] -= 1
                    self._changed.notify_all()

    def _take(self, family: str, wants: Mapping[str, float], avoid: Collection[str]) -> Machine | None:
        while True:
            able = [one for one in self._machines() if one.name not in avoid and one.has(wants)]
            if not able:
                return None
            with self._changed:
                at_home = [one for one in able if one.name == self._homes.get(family)]
                free = [one for one in at_home or able if self._given[one.name] <= one.slots]
                if free:
                    chosen = min(free, key=lambda one: (self._given[one.name] / one.slots, one.name))
                    self._given[chosen.name] += 1
                    if family:
                        self._homes[family] = chosen.name
                    return chosen
                self._changed.wait(_LOOKED_AGAIN)
