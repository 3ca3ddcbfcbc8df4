"""`run.json`: what came of running a model's check on the artifact that ships. `check` writes it, `verify` reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .codec import Document


@dataclass(frozen=True)
class Verdict:
    """One comparison of a check, measured in float64.

    Attributes:
        name: of the output.
        atol: the absolute error that is allowed; None where it is no finite number.
        max_abs_error: the largest; None where nothing was measured.
        max_abs_want: the largest absolute value that was wanted, for scale; likewise.
        passed: whether the error is allowed, and the comparison could have failed.
        problem: why nothing was measured, or why it proves nothing.
    """

    name: str
    elements: int
    atol: float | None
    max_abs_error: float | None = None
    max_abs_want: float | None = None
    passed: bool = False
    problem: str | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether something was measured and is within the tolerance, even if that proves nothing."""
        return self.max_abs_error is not None and self.atol is not None and self.max_abs_error <= self.atol

    @property
    def ratio(self) -> float:
        """The error as a part of what is allowed; any error is endlessly more than a tolerance of 0."""
        error, allowed = self.max_abs_error or 0.0, self.atol or 0.0
        return error / allowed if allowed else (float("inf") if error else 0.0)


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
class Times:
    """Of one function, in milliseconds: how often it was called, the first call, and what later ones took."""

    calls: int
    first: float
    p50: float
    p90: float


@dataclass(frozen=True)
class RunSummary:
    """What a run measured, in short, for the record and for `link.json`. Fields are as in `Run` and `Measured`."""

    model: str
    backend: str
    runner: str
    emulated: str | None
    max_error: float | None
    load_seconds: float
    peak_bytes: int
    milliseconds: Mapping[str, Times]


@dataclass(frozen=True)
class Run(Document):
    """What came of it.

    Attributes:
        backend: whose artifact it is.
        lacks: what this machine lacks to run it; None where it ran.
        unsuited: whether nothing that is installed will help: the model needs what this kind of machine has not.
        emulated: what stood for the real machine: times are those of this one.
        control: what was changed in the negative control, which then failed.
    """

    NAME = "run.json"

    model: str
    backend: str
    runner: str
    lacks: str | None = None
    hint: str | None = None
    unsuited: bool = False
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


def summary(run: Run) -> RunSummary | None:
    """What it measured; None where it was not made."""
    if run.measured is None:
        return None
    return RunSummary(
        run.model,
        run.backend,
        run.runner,
        run.emulated,
        run.worst.max_abs_error if run.worst is not None else None,
        round(run.measured.load, 3),
        run.measured.peak,
        {name: _times(taken) for name, taken in run.measured.calls.items()},
    )


def _times(seconds: Sequence[float]) -> Times:
    first, p50, p90 = (round(one * 1e3, 3) for one in (seconds[0], percentile(seconds, 50), percentile(seconds, 90)))
    return Times(len(seconds), first, p50, p90)


def percentile(seconds: Sequence[float], percent: float) -> float:
    """The smallest of the calls after the first (or of one alone) that so many percent are not above."""
    later = sorted(seconds[1:] or seconds)
    return later[max(0, math.ceil(len(later) * percent / 100) - 1)]
