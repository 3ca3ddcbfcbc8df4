"""Running a linked model on this machine: right numbers pass, wrong numbers do not, misuse is explained."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from compiled_models import TINY, Compiled, host_triple, link, model

from pipeline.compilers import tensor_cache
from pipeline.compilers.judge import judge
from pipeline.compilers.recipe import Comparison
from pipeline.documents.codec import encode
from pipeline.documents.run import Verdict
from pipeline.errors import CompilerCrash, StepError

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]


class Linked:
    """The tiny recipe, compiled for this machine and linked, with its parameters."""

    def __init__(self, folder, param_mode):
        self.compiled = Compiled(folder, TINY, model("tiny", "f32", {"param_mode": param_mode}))
        self.objects = self.compiled.compile(host_triple())
        self.library = link(self.objects)
        self.parameters = self.compiled.parameters()

    def check(self, **changes):
        parameters, library = changes.pop("cache", self.parameters), changes.pop("library", self.library)
        return self.compiled.check(library, self.objects, parameters, **changes)


@pytest.fixture(scope="module")
def linked(tmp_path_factory, warm):
    return Linked(tmp_path_factory.mktemp("packed"), "packed")


def test_the_numbers_are_right(linked):
    forward, double = linked.check()
    assert forward.passed
    assert 0 < forward.max_abs_error < 1e-6
    assert (forward.name, forward.elements, forward.problem) == ("forward", 480, None)
    assert double.passed
    assert double.max_abs_error == 0


def test_every_check_is_shown_to_depend_on_the_model(linked, tmp_path):
    linked.check()
    assert linked.compiled.outcome.control == "weights"
    run_statement(linked, tmp_path, SEEING["numbers"])
    assert linked.compiled.outcome.control is None, "double takes no weights, and nothing else is called"
    run_statement(linked, tmp_path, f"yield Comparison('x', {GOT} - {GOT}, np.zeros((5, 96)), 0)")
    assert linked.compiled.outcome.control is None


def test_calls_are_timed_and_memory_is_measured(linked):
    linked.check()
    measured = linked.compiled.outcome.measured
    assert measured.calls.keys() == {"forward", "double"}
    assert all(1 < len(taken) <= 21 for taken in measured.calls.values()), "called again, for the times"
    assert 0 < measured.load < 60
    assert measured.peak > 1 << 20


def test_a_model_that_hangs_is_ended(linked, tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("import time\ndef check(session):\n    time.sleep(60)\n    yield\n")
    monkeypatch.setattr("pipeline.runners.checks._GRACE", 0)
    with pytest.raises(CompilerCrash, match="SIGALRM"):
        linked.check(recipe=recipe, seconds=0.5)


def test_plain_parameters_are_found_by_name(tmp_path):
    assert all(result.passed for result in Linked(tmp_path, "plain").check())


def test_one_changed_weight_fails(linked, tmp_path):
    held = {name: np.array(array) for name, array in tensor_cache.read(linked.parameters).items()}
    held["dense.bias"][3] += 0.01
    tensor_cache.write(held.items(), tmp_path)
    forward, double = linked.check(cache=tmp_path)
    assert not forward.passed
    assert forward.max_abs_error > forward.atol
    assert double.passed


CHECKS = {
    "unknown": ("session.call('backward')", "no function 'backward'", "double, forward"),
    "few": ("session.call('forward')", "called with 0 arguments", "x float32['n', 96]"),
    "runtime": ("session.runtime('vm.builtin.no_such')", "no function 'vm.builtin.no_such'", "runtime"),
    "nothing": ("return; yield", "check compared nothing", "at least one"),
    "kind": ("yield 3", "the check yielded a int", "Comparison"),
    "shape": (
        "session.call('double', np.zeros((2, 7), 'float32'))",
        "called with x of float32[2, 7]",
        "it takes x float32['n', 96]",
    ),
    "dtype": ("session.call('double', np.zeros((2, 96)))", "called with x of float64[2, 96]", "it takes x"),
}


@pytest.mark.parametrize("case", CHECKS)
def test_a_wrong_check_is_explained(linked, tmp_path, case):
    statement, what, hint = CHECKS[case]
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"import numpy as np\ndef check(session):\n    {statement}\n    yield\n")
    with pytest.raises(StepError) as caught:
        linked.check(recipe=recipe)
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_a_parameter_that_was_not_given(linked, tmp_path):
    held = tensor_cache.read(linked.parameters)
    tensor_cache.write([(name, array) for name, array in held.items() if name != "norm.weight"], tmp_path)
    with pytest.raises(StepError, match=r"it takes norm\.weight, which the source did not give"):
        linked.check(cache=tmp_path)


def test_a_model_that_is_not_in_the_library(linked):
    with pytest.raises(StepError, match="no model is registered under 'other_f32_'") as caught:
        linked.check(model={**linked.compiled.model, "prefix": "other_f32_"})
    assert "whole archive" in caught.value.hint


def test_what_is_no_library(linked, tmp_path):
    (tmp_path / "x.so").write_bytes(b"\x7fELF")
    with pytest.raises(StepError, match="cannot be loaded"):
        linked.check(library=tmp_path / "x.so")


@pytest.mark.parametrize(
    ("got", "want", "problem"),
    [
        ([1.0, 2.0], [1.0], "got the shape [2], want [1]"),
        ([1.0, math.nan], [1.0, 2.0], "there is a NaN or an infinity in it"),
        ([1.0, math.inf], [1.0, math.inf], "there is a NaN or an infinity in it"),
        ([], [], "there is nothing to compare"),
        ([1.0, 2.5], [1.0, 2.0], None),
    ],
)
def test_never_equal(got, want, problem):
    verdict = judge(Comparison("x", np.array(got), want, 0.4))
    assert verdict.passed is False
    assert verdict.problem == problem
    json.dumps(encode(verdict), allow_nan=False)


def test_the_tolerance_itself_passes():
    want = Verdict("x", 1, 0.5, max_abs_error=0.5, max_abs_want=2.0, passed=True, problem=None)
    assert judge(Comparison("x", np.float32(2.5), 2, 0.5)) == want


@pytest.mark.parametrize("atol", [math.inf, math.nan, -1e-6, 1e9, 2.0])
def test_a_tolerance_that_lets_everything_through(atol):
    verdict = judge(Comparison("x", np.array([1.0, 2.0]), [1.0, 2.0], atol))
    assert not verdict.passed
    assert "tolerance" in verdict.problem
    json.dumps(encode(verdict), allow_nan=False)


X = "np.ones((5, 96), 'float32')"
GOT = f"session.call('double', {X})"
BLIND = {
    "itself": f"got = {GOT}; yield Comparison('x', got, got, 1e-6)",
    "a copy of itself": f"got = {GOT}; yield Comparison('x', got, np.array(got.tolist()), 1e-6)",
    "a second call": f"yield Comparison('x', {GOT}, {GOT}, 1e-6)",
    "what follows from it": f"got = {GOT}; yield Comparison('x', got / 2, got * 0.5, 1e-6)",
    "nothing of the model": f"{GOT}; yield Comparison('x', np.ones(3), np.ones(3), 1e-6)",
    "an endless tolerance": f"yield Comparison('x', {GOT}, 2 * {X}, float('inf'))",
    "a huge tolerance": f"yield Comparison('x', {GOT}, 2 * {X}, 1e9)",
    "a huge tolerance for a difference": f"yield Comparison('x', {GOT} - 2 * {X}, np.zeros((5, 96)), 1e9)",
}
SEEING = {
    "numbers": f"yield Comparison('x', {GOT}, 2 * {X}, 0)",
    "a difference": f"yield Comparison('x', {GOT} - 2 * {X}, np.zeros((5, 96)), 1e-6)",
    "where the largest is": "x = np.zeros((1, 96), 'float32'); x[0, 7] = 1\n"
    "    yield Comparison('x', session.call('double', x).argmax(), 7, 0)",
    "the sign": f"yield Comparison('x', ({GOT} > 0).all(), True, 0)",
    "a number that it asserts": f"got = {GOT}; assert got[0, 0] == 2; yield Comparison('x', got, 2 * {X}, 0)",
    "a decision": f"if {GOT}.sum() != 960: raise ValueError\n    yield Comparison('x', {GOT}, 2 * {X}, 0)",
}


def run_statement(linked, tmp_path, statement):
    recipe = tmp_path / "recipe.py"
    lines = "import numpy as np\nfrom pipeline.compilers.recipe import Comparison\ndef check(session):\n    "
    recipe.write_text(lines + statement + "\n")
    return linked.check(recipe=recipe)


@pytest.mark.parametrize("case", BLIND)
def test_a_check_that_nothing_can_fail_proves_nothing(linked, tmp_path, case):
    (result,) = run_statement(linked, tmp_path, BLIND[case])
    assert not result.passed
    assert "tolerance" in result.problem


@pytest.mark.parametrize("case", SEEING)
def test_a_check_that_can_fail_passes(linked, tmp_path, case):
    (result,) = run_statement(linked, tmp_path, SEEING[case])
    assert result.passed, result


def test_one_blind_comparison_among_others_is_named(linked, tmp_path):
    blind = f"got = {GOT}; yield Comparison('good', got, 2 * {X}, 0); yield Comparison('blind', got, got, 0)"
    good, bad = run_statement(linked, tmp_path, blind)
    assert good.passed
    assert not bad.passed
