"""The line of an error that says why: not the last one, not a program's, not a trace's."""

from __future__ import annotations

import pytest

from pipeline.compilers.reasons import LONGEST, reason

PROGRAM = """# from tvm.script import tirx as T

@T.prim_func
def main(A: T.Buffer((n,), "float32")):
    for i in T.thread_binding(n, thread="blockIdx.x"):
        with T.sblock("compute"):
            ^^^^^^^^^^^^^^^^^^^^^^^^^^
    (... 67 lines skipped ...)"""

CASES = {
    "one line": ("do not support i64", "do not support i64"),
    "a program behind": (f"Cannot treat type ir.Call as ir.Expr\n{PROGRAM}", "Cannot treat type ir.Call as ir.Expr"),
    "a program before": (
        (
            f"ScheduleError: An error occurred in the schedule primitive 'compute-at'.\n\nThe IR is:\n{PROGRAM}\n"
            "Error message: The producer is not in the scope"
        ),
        "The producer is not in the scope",
    ),
    "a check inside": (
        (
            f"In a pass\n{PROGRAM}\nInternalError: Check failed: (extent) is false: Cannot unroll non-constant "
            "loop\nStack trace:\n  [bt] (0) libtvm.so\n(... 12 lines skipped ...)"
        ),
        "InternalError: Check failed: (extent) is false: Cannot unroll non-constant loop",
    ),
    "a list": (
        (
            f"Memory verification failed with the following errors:\n  Variable `A` is directly accessed by host\n"
            f"  Did you forget to bind?\n{PROGRAM}"
        ),
        "Memory verification failed with the following errors: Variable `A` is directly accessed by host",
    ),
    "a trace": ('Traceback (most recent call last):\n  File "a.py", line 3\nbroken', "broken"),
    "nothing but what is skipped": ("(... 67 lines skipped ...)", "(... 67 lines skipped ...)"),
    "nothing": ("", "no message"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_line_that_says_why(case):
    text, why = CASES[case]
    assert reason(TypeError(text)) == f"TypeError: {why}"


def test_it_is_bounded():
    assert len(reason(ValueError("x" * 10_000))) == len("ValueError: ") + LONGEST
