"""The negative control of a check that runs on a machine: the model with other inputs must fail it."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_program import DOUBLE, FAKE

from pipeline.compilers import tensor_cache
from pipeline.compilers.declared import Declared
from pipeline.documents.functions import Function, Value
from pipeline.documents.run import Measured, Run, Verdict
from pipeline.errors import StepError, VerifyError
from pipeline.files import hash_path
from pipeline.matrix.cells import ModelRef
from pipeline.runners import check
from pipeline.runners.machine import Launch, MachineDied
from pipeline.runners.session import WEIGHT_CHANGES, write_changed
from pipeline.runners.trial import Trial, run_checks

CHECK = """\
import numpy as np

from pipeline.compilers.recipe import Comparison


def check(session):
    x = np.arange(6, dtype="float32").reshape(2, 3)
    y = session.call("double", x)
    assert y.shape == (2, 3)
    yield Comparison("doubled", y, 2 * x, 1e-6)
"""


def outcome(
    tmp_path: Path, how: str, function: Function = DOUBLE, parameters: Path | None = None, text: str = CHECK
) -> Run:
    """Of the check on the fake program, in a process of its own: a check confines the one that it runs in."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(text)
    reads = Declared(str(recipe), {str(recipe): hash_path(recipe)}, (str(parameters),) if parameters else ())
    trial = Trial(ModelRef("tiny", "f32", "", {}), (function,), parameters, None, reads, "check", 30)
    launch = Launch(command=(sys.executable, str(FAKE), how))
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(run_checks, launch=launch, trial=trial, about=Run("tiny-f32", "host", "host")).result()


def test_a_check_that_follows_the_inputs_is_one(tmp_path):
    seen = outcome(tmp_path, "well")
    assert [one.passed for one in seen.compared] == [True]
    assert seen.control == "inputs"


def test_a_check_may_end_in_any_way_when_it_meets_other_numbers(tmp_path):
    ends = "    if abs(y - 2 * x).max() > 1:\n        raise SystemExit('these are not the numbers')\n    yield"
    assert outcome(tmp_path, "well", text=CHECK.replace("    yield", ends)).control == "inputs"


def test_a_check_that_waits_for_a_word_of_the_model_ends_in_its_control(tmp_path):
    """As one that generates until the end of the sentence: with other numbers it never comes."""
    waits = "    while abs(y - 2 * x).max() > 1e-6:\n        y = session.call('double', x)\n    yield"
    assert outcome(tmp_path, "well", text=CHECK.replace("    yield", waits)).control == "inputs"


def test_a_machine_that_dies_in_the_control_is_no_control(tmp_path):
    with pytest.raises(MachineDied, match="was ended by SIGSEGV when it ran double"):
        outcome(tmp_path, "later")


def test_a_machine_that_dies_at_the_end_has_not_passed(tmp_path):
    with pytest.raises(MachineDied, match="was ended by SIGSEGV when its work was done"):
        outcome(tmp_path, "late-crash")


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


# Weights

WITH_BIAS = Function("double", (*DOUBLE.arguments, Value("bias", "float32", (3,), parameter=True)), DOUBLE.returns)


def test_a_check_that_does_not_depend_on_the_weights_proves_nothing_of_them(tmp_path):
    """The fake takes a bias and does not add it. With other inputs the check fails, which says nothing."""
    folder = tmp_path / "parameters"
    folder.mkdir()
    tensor_cache.write([("bias", np.arange(3, dtype="float32"))], folder)
    seen = outcome(tmp_path, "well", WITH_BIAS, folder)
    assert [one.passed for one in seen.compared] == [True]
    assert seen.control is None


def test_where_no_function_takes_weights_the_inputs_are_changed(tmp_path):
    folder = tmp_path / "parameters"
    folder.mkdir()
    tensor_cache.write([("bias", np.arange(3, dtype="float32"))], folder)
    assert outcome(tmp_path, "well", parameters=folder).control == "inputs"


def cosine(weights: np.ndarray) -> float:
    one, other = np.array([1, 2, 3]) @ weights, np.array([3, 2, 0]) @ weights
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize(
    ("answer", "weights"),
    [
        (lambda w: float(w.sum()), np.arange(6, dtype="float32")),
        (lambda w: int(w.argmax()), np.array([1, 5, 2], "float32")),
        (lambda w: float(w[0] / np.abs(w).sum()), np.array([1, 5, 2], "float32")),
        (cosine, np.array([[1, 0, 0], [0, 4, 1], [0, 0, 9]], "float32")),
        (lambda w: int(w[1]), np.array([7, 9, 8], "int8")),
        (lambda w: int(w.sum()), np.array([-128, 127, 3], "int8")),
        (lambda w: int(w.sum()), np.array([1 << 63, 1, 3], "uint64")),
        (lambda w: int("abcd"[w[0]] == "c"), np.array([2, 1, 0, 3])),
        (lambda w: int(w.sum()), np.zeros(4, "int32")),
        (lambda w: float(w.sum()), np.zeros(4, "float32")),
        (lambda w: bool(w[0]), np.array([True, False])),
    ],
)
def test_whatever_depends_on_weights_is_another_with_one_of_the_changes(tmp_path, answer, weights):
    (tmp_path / "old").mkdir()
    tensor_cache.write([("w", weights)], tmp_path / "old")
    others = []
    for number, change in enumerate(WEIGHT_CHANGES):
        if write_changed(tmp_path / "old", tmp_path / str(number), change):
            others.append(tensor_cache.read(tmp_path / str(number))["w"])
    assert any(answer(other) != pytest.approx(answer(weights)) for other in others)
    assert all(other.shape == weights.shape and other.dtype == weights.dtype for other in others)


def test_no_numbers_are_no_weights(tmp_path):
    (tmp_path / "old").mkdir()
    tensor_cache.write([("w", np.zeros((0, 3), "float32"))], tmp_path / "old")
    assert not any(write_changed(tmp_path / "old", tmp_path / "new", change) for change in WEIGHT_CHANGES)


@pytest.mark.parametrize("changed", ["weights", "inputs"])
@pytest.mark.parametrize("named", ["check", None])
def test_who_has_no_check_is_not_told_to_mend_it(tmp_path, monkeypatch, changed, named):
    trial = SimpleNamespace(takes_parameters=changed == "weights")
    monkeypatch.setattr(check, "trial", lambda _: trial)
    passed = (Verdict("y", 4, 1e-2, 1e-3, 1.0, passed=True),)
    params = check.Params(ModelRef("tiny", "f32", "", {}), None, "lib", named, reference=None if named else "onnx")
    job = SimpleNamespace(params=params, log=tmp_path / "log")
    with pytest.raises(VerifyError) as caught:
        check._judge(job, Run("tiny-f32", "host", "host", compared=passed, measured=Measured(1, 1, {})))
    assert ("the check passes with" in str(caught.value)) == bool(named)
    assert (f"nothing that this model gives depends on its {changed}" in str(caught.value)) == (not named)
    assert ("name a `check` of your own" in caught.value.hint) == (not named)
