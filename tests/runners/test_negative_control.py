"""The negative control of a check that runs on a machine: the model with other inputs must fail it."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_program import DOUBLE, FAKE

from pipeline.compilers import tensor_cache
from pipeline.compilers.declared import Declared
from pipeline.documents.functions import Function, Value
from pipeline.errors import StepError
from pipeline.files import sha256_path
from pipeline.matrix.cells import ModelRef
from pipeline.runners.machine import Launch, MachineDied
from pipeline.runners.trial import Outcome, Trial, run_checks

CHECK = """\
import numpy as np

from pipeline.compilers.recipe import Comparison


def check(session):
    x = np.arange(6, dtype="float32").reshape(2, 3)
    y = session.call("double", x)
    assert y.shape == (2, 3)
    yield Comparison("doubled", y, 2 * x, 1e-6)
"""


def outcome(tmp_path: Path, how: str, function: Function = DOUBLE, parameters: Path | None = None) -> Outcome:
    """Of the check on the fake program, in a process of its own: a check confines the one that it runs in."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(CHECK)
    reads = Declared(str(recipe), {str(recipe): sha256_path(recipe)})
    trial = Trial(ModelRef("tiny", "f32", "", {}), (function,), parameters, None, reads, "check", 30)
    launch = Launch(command=(sys.executable, str(FAKE), how))
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(run_checks, launch=launch, trial=trial).result()


def test_a_check_that_follows_the_inputs_is_one(tmp_path):
    seen = outcome(tmp_path, "well")
    assert [one.passed for one in seen.compared] == [True]
    assert seen.control == "inputs"


def test_a_machine_that_dies_in_the_control_is_no_control(tmp_path):
    with pytest.raises(MachineDied, match="was ended by SIGSEGV when it ran double"):
        outcome(tmp_path, "later")


def test_numbers_that_are_none_fail(tmp_path):
    """Whatever the tolerance is, NaN is no number of the model's; and what fails is not called again for its times."""
    seen = outcome(tmp_path, "nan")
    assert [one.passed for one in seen.compared] == [False]
    assert "nan" in str(seen.compared[0].problem).lower()
    assert seen.control is None
    assert len(seen.measured.calls["double"]) == 1


def test_a_function_is_called_again_for_its_times(tmp_path):
    seen = outcome(tmp_path, "well")
    assert len(seen.measured.calls["double"]) == 20
    assert seen.measured.peak < 1 << 30


def test_parameters_that_do_not_fit_are_named_before_the_model_meets_them(tmp_path):
    folder = tmp_path / "parameters"
    folder.mkdir()
    tensor_cache.write([("bias", np.zeros(4, "float32"))], folder)
    function = Function("double", (*DOUBLE.arguments, Value("bias", "float32", (3,), parameter=True)), DOUBLE.returns)
    with pytest.raises(StepError, match=r"it takes bias as float32\[3\], and bias is float32\[4\]"):
        outcome(tmp_path, "well", function, folder)
