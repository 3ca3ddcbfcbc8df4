"""Measures what a check compares, and asks whether the check could have failed at all.

`session` calls it. A model's numbers are proven by a comparison with numbers that do not come from it, and with a
tolerance that lets nothing else through. Neither can be seen in one comparison; so each that has passed is made again
with other numbers in place of the model's, and must not pass. That is its negative control.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.documents.run import Verdict
from pipeline.errors import StepError

from .recipe import Check, Comparison, Session

ATTEMPTS = 8
"""Other numbers that a check is shown before it counts as blind: what it makes of some (an argmax) may be the same."""


def judged(check: Check, session: Session, recipe: Path) -> tuple[Verdict, ...]:
    """Run a check on a model, and its negative control; return one verdict a comparison.

    Args:
        check: the function.
        session: the model.
        recipe: the file the check is in, for messages.

    Raises:
        StepError: the check yields something else than comparisons.
    """
    recorded = _Recorded(session.model, session.variant, session.options, session.weights, session)
    verdicts = [judge(comparison) for comparison in _comparisons(check(recorded), recipe)]
    blind = _blind(check, recorded, verdicts)
    return tuple(
        replace(one, passed=False, problem=_BLIND) if number in blind else one for number, one in enumerate(verdicts)
    )


_BLIND = (
    "it passes with any other output just as well: the output is compared with itself or with nothing of the model, or "
    "the tolerance lets everything through"
)


def judge(comparison: Comparison) -> Verdict:
    """Measure one comparison in float64. Another shape, or anything that is not a finite number, never passes."""
    given = np.asarray(comparison.got), np.asarray(comparison.want)
    got, want = (side.astype(np.complex128 if np.iscomplexobj(side) else np.float64) for side in given)
    allowed = math.nan if isinstance(comparison.atol, (bool, np.bool_)) else float(comparison.atol)
    stated = allowed if math.isfinite(allowed) else None
    verdict = Verdict(comparison.name, int(want.size), stated)
    if not (math.isfinite(allowed) and allowed >= 0):
        return replace(verdict, problem=f"a tolerance of {allowed} is none: it must be a finite number, 0 or more")
    if got.shape != want.shape:
        return replace(verdict, problem=f"got the shape {list(got.shape)}, want {list(want.shape)}")
    if want.size == 0:
        return replace(verdict, problem="there is nothing to compare")
    if not (np.isfinite(got).all() and np.isfinite(want).all()):
        return replace(verdict, problem="there is a NaN or an infinity in it")
    error, scale = float(np.abs(got - want).max()), float(np.abs(want).max())
    verdict = replace(verdict, max_abs_error=error, max_abs_want=scale)
    if 0 < scale <= allowed:
        problem = f"a tolerance of {allowed:.1e} proves nothing: the largest value is {scale:.1e}, so zeros would pass"
        return replace(verdict, problem=problem)
    if all(side.dtype.kind in "iu" for side in given) and (given[0] != given[1]).any():
        verdict = replace(verdict, max_abs_error=max(error, 1.0))  # float64 does not tell them apart beyond 2**53
    return replace(verdict, passed=verdict.is_allowed)


def _comparisons(given: Iterable[Comparison], recipe: Path) -> Iterator[Comparison]:
    if not isinstance(given, Iterable):
        wrong = f"the check returned a {type(given).__name__}"
        raise StepError(wrong, where=recipe, hint="let it yield one Comparison for each result")
    for comparison in given:
        if not isinstance(comparison, Comparison):
            wrong = f"the check yielded a {type(comparison).__name__}"
            raise StepError(wrong, where=recipe, hint="yield pipeline.compilers.recipe.Comparison")
        yield comparison


def _blind(check: Check, recorded: _Recorded, verdicts: Sequence[Verdict]) -> set[int]:
    """The comparisons, by number, that passed and pass with other outputs too."""
    left = {number for number, verdict in enumerate(verdicts) if verdict.passed}
    for attempt in range(ATTEMPTS):
        if not left:
            break
        passed = set()
        with suppress(Exception, SystemExit):  # whatever comes of wrong numbers: they were noticed
            for number, comparison in enumerate(check(_Disturbed.of(recorded, attempt))):
                if judge(comparison).is_allowed:  # a tolerance that grows with the output has noticed nothing
                    passed.add(number)
        left &= passed
    return left


@dataclass(frozen=True)
class _About:
    """What a session says of the model it has."""

    model: str
    variant: str
    options: Mapping[str, object]
    weights: Path | None


@dataclass(frozen=True)
class _Recorded(_About):
    """A session that remembers what it gave."""

    session: Session
    answers: list[tuple[str, object]] = field(default_factory=list)

    def call(self, function: str, *arguments: object) -> object:
        """See `recipe.Session`."""
        return self._remembered(function, self.session.call(function, *arguments))

    def runtime(self, function: str, *arguments: object) -> object:
        """See `recipe.Session`."""
        return self._remembered(function, self.session.runtime(function, *arguments))

    def _remembered(self, function: str, answer: object) -> object:
        self.answers.append((function, _other(answer, None)))
        return answer


@dataclass(frozen=True)
class _Disturbed(_About):
    """A session that runs nothing: it gives what another has given, with other numbers; others in each attempt."""

    answers: Iterator[tuple[str, object]]
    attempt: int

    @classmethod
    def of(cls, recorded: _Recorded, attempt: int) -> _Disturbed:
        """One with the answers of another."""
        return cls(
            recorded.model, recorded.variant, recorded.options, recorded.weights, iter(recorded.answers), attempt
        )

    def call(self, function: str, *_arguments: object) -> object:
        """See `recipe.Session`; every number in the answer is another."""
        return _other(self._next(function), self.attempt)

    def runtime(self, function: str, *_arguments: object) -> object:
        """See `recipe.Session`."""
        return _other(self._next(function), None)

    def _next(self, function: str) -> object:
        called, answer = next(self.answers, (None, None))
        if called != function:
            raise LookupError(f"with other numbers the check calls {function} where it called {called}")
        return answer


def _other(answer: object, attempt: int | None) -> object:
    """A copy of what a function gave, with noise over its numbers; what is no number (a cache) stays what it is.

    Equal numbers get equal noise, so that what is called twice and compared is still equal. None is for no noise.
    """
    if isinstance(answer, list | tuple):
        return type(answer)([_other(item, attempt) for item in answer])
    if isinstance(answer, float):
        return np.asarray(_other(np.asarray(answer), attempt)).item()
    if not isinstance(answer, np.ndarray):
        return answer
    if attempt is None:
        return answer.copy()
    random = np.random.Generator(np.random.PCG64([attempt, zlib.crc32(answer.tobytes())]))
    if answer.dtype == np.bool_:
        return answer ^ random.integers(0, 2, answer.shape).astype(np.bool_)
    numbers = np.nan_to_num(answer.astype(np.float64))
    noise = random.uniform(-2, 2, numbers.shape) * (1 + np.abs(numbers).max(initial=0))
    if np.issubdtype(answer.dtype, np.integer):
        noise = np.where(noise < 0, np.floor(noise), np.ceil(noise))
    with np.errstate(all="ignore"):
        return (numbers + noise).astype(answer.dtype)
