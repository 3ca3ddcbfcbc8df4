"""What came of one comparison of a model's numbers: a runner measures it, the proofs judge and print it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One comparison of a check, measured in float64.

    Attributes:
        name: of the output.
        elements: how many were compared.
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
    def ratio(self) -> float:
        """The error as a part of what is allowed; any error is endlessly more than a tolerance of 0."""
        error, allowed = self.max_abs_error or 0.0, self.atol or 0.0
        return error / allowed if allowed else (float("inf") if error else 0.0)
