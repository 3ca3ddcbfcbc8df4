"""What a comparison measures: numbers that differ are not equal because float64, or a tolerance, cannot tell."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.compilers.judge import judge, judged
from pipeline.compilers.recipe import Comparison
from pipeline.errors import StepError


class Model:
    """A session whose model gives always the same."""

    model = variant = "m"
    options = weights = None

    def call(self, *_):
        return np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (np.array([1 + 1j]), np.array([1 + 9j])),
        (np.array([2**53 + 1]), np.array([2**53])),
        (np.array([2**64 - 1], np.uint64), np.array([2**64 - 1000], np.uint64)),
        (np.array([2**53 + 1]), np.array([2**53], np.uint64)),
    ],
)
def test_numbers_that_float64_makes_equal_are_not(got, want):
    assert not judge(Comparison("y", got, want, 0.0)).passed
    assert judge(Comparison("y", want, want, 0.0)).passed


def test_a_truth_value_is_no_tolerance():
    assert "is none" in judge(Comparison("y", np.ones(2), np.ones(2), True)).problem


def test_a_tolerance_that_grows_with_the_output_proves_nothing():
    def check(session):
        y = session.call("f")
        yield Comparison("y", y, 3 * np.array([1.0, 2.0, 3.0]), float(abs(y - 3 * np.array([1.0, 2.0, 3.0])).max()))

    assert not judged(check, Model(), Path("recipe.py"))[0].passed


class Several(Model):
    """A model with three results, the last of which goes back in; and an object that keeps a state."""

    def call(self, function, *_):
        if function == "scores":
            return np.float32([4, 5])
        return [np.float32([1]), [np.float32([2]), np.float32([3])], object()]

    runtime = call


def several(*, left_out: int):
    def check(session):
        first, (second, third), _ = session.call("f", np.float32([7]))
        got = [(first, 1), (second, 2), (session.call("scores", third), [4, 5])]
        for number, (one, want) in enumerate(got):
            if number != left_out:
                yield Comparison(f"y{number}", one, np.float32([want]).reshape(-1), 0.0)

    return judged(check, Several(), Path("recipe.py"))


def test_all_results_are_compared_or_go_back_into_the_model():
    assert [one.passed for one in several(left_out=-1)] == [True] * 3


@pytest.mark.parametrize(
    ("left_out", "which"), [(0, "result 1 of f"), (1, "result 2.1 of f"), (2, "what scores returns")]
)
def test_a_result_that_is_compared_with_nothing_is_refused(left_out, which):
    with pytest.raises(StepError, match=f"compares {which} with nothing") as caught:
        several(left_out=left_out)
    assert "yield a Comparison of it" in caught.value.hint


def test_a_cache_that_goes_back_into_the_model_costs_no_further_run_of_the_check():
    class Cached(Model):
        def call(self, _, *arguments):
            return [np.float32([len(arguments)]), *(np.float32([7, number]) for number in range(40))]

    runs = []

    def check(session):
        runs.append(1)
        first, *cache = session.call("prefill")
        second, *_ = session.call("prefill", *cache)
        yield Comparison("first", first, np.float32([0]), 0.0)
        yield Comparison("second", second, np.float32([40]), 0.0)

    assert all(one.passed for one in judged(check, Cached(), Path("recipe.py")))
    assert len(runs) < 10
