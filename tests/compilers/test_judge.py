"""What a comparison measures: numbers that differ are not equal because float64, or a tolerance, cannot tell."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.compilers.judge import judge, judged
from pipeline.compilers.recipe import Comparison


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
