"""Measures what a check compares, and asks whether the check could have failed at all.

`session` calls it. A model's numbers are proven by a comparison with numbers that do not come from it, and with a
tolerance that lets nothing else through. Neither can be seen in one comparison; so each that has passed is made again
with other numbers in place of the model's, and must not pass. That is its negative control. In the same way each result
of a function is seen to matter: with other numbers there alone, something must differ.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.documents.run import Verdict
from pipeline.errors import StepError

from .recipe import Check, Comparison, Session

ATTEMPTS = 8
"""Other numbers that a check is shown before it counts as blind: what it makes of some (an argmax) may be the same."""


def judged(check: Check, session: Session, recipe: Path) -> tuple[Verdict, ...]:
    """Run a check on a model, and its negative control; return one verdict a comparison. Messages name the `recipe`.

    Raises:
        StepError: the check yields something else than comparisons, or leaves a result out of them.
    """
    answers: list[_Called] = []
    recorded = _recorded(session, answers)
    disturbed = partial(_disturbed, recorded, answers)
    verdicts = [judge(comparison) for comparison in _comparisons(check(recorded), recipe)]
    blind = _blind(check, disturbed, verdicts)
    given = frozenset[object]().union(*(one.given for one in answers))
    results = [(one.function, path, _mark(item)) for one in answers for path, item in _numbers(one.answer)]
    places = dict.fromkeys((function, path) for function, path, _ in results)
    fed = {(function, path) for function, path, mark in results if mark in given}  # a cache, which the next call takes
    if len(places) > 1 and not blind and all(one.passed for one in verdicts):
        for function, path in places:
            if (function, path) not in fed and not _matters(check, disturbed, function, path, len(verdicts)):
                number = ".".join(str(index + 1) for index in path)
                what = f"result {number} of {function}" if path else f"what {function} returns"
                hint = "yield a Comparison of it too, call the model with it, or let the model not return it"
                raise StepError(f"the check compares {what} with nothing", where=recipe, hint=hint)
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


def _blind(check: Check, disturbed: Callable[..., Session], verdicts: Sequence[Verdict]) -> set[int]:
    """The comparisons, by number, that passed and pass with other outputs too."""
    left = {number for number, verdict in enumerate(verdicts) if verdict.passed}
    for attempt in range(ATTEMPTS):
        if not left:
            break
        passed = set()
        with suppress(Exception, SystemExit):  # whatever comes of wrong numbers: they were noticed
            for number, comparison in enumerate(check(disturbed(attempt))):
                if judge(comparison).is_allowed:  # a tolerance that grows with the output has noticed nothing
                    passed.add(number)
        left &= passed
    return left


def _matters(check: Check, disturbed: Callable[..., Session], function: str, path: Sequence[int], count: int) -> bool:
    """Whether a check notices other numbers in one result of a function: by a comparison, or by what it calls then.

    With the right numbers it passes, and makes `count` comparisons. `path` is where the result is in what the function
    returns; for `disturbed` see `_disturbed`.
    """
    for attempt in range(ATTEMPTS):
        try:
            passed = [judge(one).passed for one in check(disturbed(attempt, function, path))]
        except (Exception, SystemExit):  # noqa: BLE001 - the recipe's own code, which may raise anything
            return True
        if passed != [True] * count:
            return True
    return False


class _Called(NamedTuple):
    """A call: the function, what stands for the arguments, as a whole and each, and a copy of what it gave."""

    function: str
    arguments: object
    given: frozenset[object]
    answer: object


@dataclass(frozen=True)
class _Session:
    """A session of a model's whose calls somebody else answers; see `recipe.Session`."""

    model: str
    variant: str
    options: Mapping[str, object]
    weights: Path | None
    call: Callable[..., object]
    runtime: Callable[..., object]


def _recorded(session: Session, answers: list[_Called]) -> _Session:
    """A session whose answers are remembered."""

    def remembered(function: str, arguments: object, answer: object) -> object:
        given = frozenset(_mark(item) for _, item in _numbers(arguments))
        answers.append(_Called(function, _mark(arguments), given, _other(answer, None)))
        return answer

    def call(function: str, *arguments: object) -> object:
        return remembered(function, arguments, session.call(function, *arguments))

    def runtime(function: str, *arguments: object) -> object:
        return remembered(function, arguments, session.runtime(function, *arguments))

    return _Session(session.model, session.variant, session.options, session.weights, call, runtime)


def _disturbed(
    recorded: _Session, answers: Sequence[_Called], attempt: int, only: str | None = None, path: Sequence[int] = ()
) -> _Session:
    """A session that runs nothing: it gives what was given, with other numbers from the model; others in each attempt.

    `only` names the function whose numbers are others, at `path` of what it returns; then other arguments are an error,
    as the numbers went back into the model.
    """
    left = iter(answers)

    def given(function: str, arguments: object) -> object:
        called = next(left, None)
        if called is None or called.function != function:
            raise LookupError(f"with other numbers the check calls {function} where it called something else")
        if only is not None and called.arguments != _mark(arguments):
            raise LookupError(f"with other numbers the check calls {function} with them")
        return called.answer

    def call(function: str, *arguments: object) -> object:
        return _other(given(function, arguments), attempt if only in {None, function} else None, path)

    def runtime(function: str, *arguments: object) -> object:
        return _other(given(function, arguments), None)

    return replace(recorded, call=call, runtime=runtime)


def _mark(value: object) -> object:
    """What stands for an argument: equal where they are equal."""
    if isinstance(value, np.ndarray | np.generic):
        return value.shape, value.dtype.str, zlib.crc32(value.tobytes())
    return tuple(map(_mark, value)) if isinstance(value, list | tuple) else value


def _numbers(answer: object, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], object]]:
    """The numbers in what a function took or gave, and where in it they are."""
    if isinstance(answer, list | tuple):
        for index, item in enumerate(answer):
            yield from _numbers(item, (*path, index))
    elif isinstance(answer, float) or (isinstance(answer, np.ndarray) and answer.size):
        yield path, answer


def _other(answer: object, attempt: int | None, path: Sequence[int] = ()) -> object:
    """A copy of what a function gave, with noise over its numbers; what is no number (a cache) stays what it is.

    Equal numbers get equal noise, so that what is called twice and compared is still equal. None is for no noise, and
    a path for noise there alone.
    """
    if isinstance(answer, list | tuple):
        here = [attempt if not path or index == path[0] else None for index in range(len(answer))]
        return type(answer)([_other(item, noise, path[1:]) for item, noise in zip(answer, here, strict=True)])
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
