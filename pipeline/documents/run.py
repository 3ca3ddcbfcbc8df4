"""`run.json`: what came of running a model's check on the artifact that ships. `check` writes it, `verify` reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .codec import load
from .verdict import Verdict

NAME = "run.json"


@dataclass(frozen=True)
class Measured:
    """What a run cost, on the machine it ran on.

    Attributes:
        load: seconds until the model and its parameters were loaded.
        peak: bytes of memory at most.
        calls: function -> seconds of each of its calls, in their order. The first has what is made once.
    """

    load: float
    peak: int
    calls: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Run:
    """What came of it.

    Attributes:
        model: the variant.
        backend: whose artifact it is.
        runner: what ran it.
        lacks: what this machine lacks to run it; None where it ran.
        hint: what to install then.
        emulated: what stood for the real machine: times are those of this one.
        control: what was changed in the negative control, which then failed.
        compared: every comparison.
        measured: what it cost.
    """

    model: str
    backend: str
    runner: str
    lacks: str | None = None
    hint: str | None = None
    emulated: str | None = None
    control: str | None = None
    compared: tuple[Verdict, ...] = ()
    measured: Measured | None = None

    @property
    def worst(self) -> Verdict | None:
        """The comparison that came closest to its tolerance."""
        measured = [one for one in self.compared if one.max_abs_error is not None]
        return max(measured, key=lambda one: one.ratio, default=None)

    @property
    def typical(self) -> float | None:
        """Seconds of a call of the function that takes longest, as a rule; of those called more than once, if any is.

        A first call has what is made once: on a GPU, the kernels.
        """
        if self.measured is None:
            return None
        calls = list(self.measured.calls.values())
        again = [taken for taken in calls if len(taken) > 1] or calls
        return max((percentile(taken, 50) for taken in again), default=None)


def percentile(seconds: Sequence[float], percent: float) -> float:
    """The smallest of the calls after the first (or of one alone) that so many percent are not above."""
    later = sorted(seconds[1:] or seconds)
    return later[max(0, math.ceil(len(later) * percent / 100) - 1)]


def read_run(folder: Path) -> Run:
    """The document in the output directory of a `check` action."""
    return load(Run, folder / NAME)
