"""What a recipe's check found of one result: a runner measures it, the proofs judge and print it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One comparison of a check, measured in float64.

    Attributes:
        name: of the output.
        elements: how many were compared.
        atol: the absolute error that is allowed.
        max_abs_error: the largest; None where nothing was measured.
        max_abs_want: the largest absolute value that was wanted, for scale; likewise.
        passed: whether the error is allowed.
        problem: why nothing was measured.
    """

    name: str
    elements: int
    atol: float
    max_abs_error: float | None = None
    max_abs_want: float | None = None
    passed: bool = False
    problem: str | None = None
