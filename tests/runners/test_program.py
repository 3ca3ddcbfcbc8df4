"""A model in a program: what goes over its pipes, and how each way to go wrong is told. The program is a fake."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.compilers import judge, tensor_cache
from pipeline.compilers.recipe import Comparison
from pipeline.documents.functions import Function, Value
from pipeline.errors import StepError, ToolMissing
from pipeline.runners.machine import Held, Launch, Parameter
from pipeline.runners.program import Program
from pipeline.runners.session import ModelSession

FAKE = Path(__file__).parent / "fake_program.py"
X = np.arange(6, dtype="float32").reshape(2, 3)
DOUBLE = Function("double", (Value("x", "float32", ("n", 3)),), (Value("y", "float32", ("n", 3)),))


@pytest.fixture
def program():
    """Start the fake; whatever is left of it ends with the test."""
    started = []

    def start(how: str = "well", seconds: float = 20) -> Program:
        made = Program(Launch(command=(sys.executable, str(FAKE), how)), seconds)
        started.append(made)
        return made

    yield start
    for one in started:
        with suppress(StepError):
            one.close()


def session(machine: Program, function: Function = DOUBLE) -> ModelSession:
    return ModelSession("tiny", "f32", {}, None, {"double": function}, frozenset(), machine)


def test_numbers_go_there_and_come_back(program):
    made = session(program())
    assert np.array_equal(made.call("double", X), 2 * X)
    assert made.seconds == {"double": [0.002]}
    assert made.machine.emulated == "fake"


def test_every_kind_of_value_travels(program, tmp_path):
    machine = program()
    machine.use_parameters(tmp_path)
    assert machine.runtime("make", [(1, 2), -3, 2.5, True, None, "ä\n", [X, (4,)], np.int64(3).item()]) == Held(3)
    assert machine.runtime("mixed", [Held(3), Parameter("a weight")]) == [-4, (5, 6), "aé"]
    assert machine.close() > 1 << 20


def test_a_scalar_and_an_empty_tensor_keep_their_shape(program):
    machine = program()
    assert machine.call("double", [np.array(1.5, "float32")])[0].shape == ()
    assert machine.call("double", [np.zeros((0, 3), "float32")])[0].shape == (0, 3)


def test_a_large_tensor_does_not_block_either_side(program):
    large = np.zeros((1 << 20,), "float32")
    assert program().call("double", [large])[0].nbytes == large.nbytes


WRONG = {
    "crash": "was ended by SIGSEGV when it ran double",
    "exit": "ended with status 7 when it ran double",
    "fail": "double failed: ValueError: no such thing",
    "huge": "the program gave a malformed tensor: 399999999999996 is too many",
    "shape": "tiny's double gave y of float32[6]",
    "real-time": "was ended by signal 40 when it ran double",
    "slow": "answered done '999999999999999999'",
    "nested": "the program gave a malformed array: 1 is too many",
    "dtype": "the program gave a malformed tensor: 'f4,(' is no dtype of a tensor",
    "endless": "the program gave a malformed tensor: ",
    "nothing": "tiny's double gave 0 results, and returns 1",
    "number": "tiny's double gave y which is no tensor",
    "several": "tiny's double gave 2 results, and returns 1",
}


@pytest.mark.parametrize("how", WRONG)
def test_what_goes_wrong_is_told(program, how):
    with pytest.raises(StepError) as caught:
        session(program(how)).call("double", X)
    assert WRONG[how] in caught.value.what
    assert caught.value.hint


def test_what_was_not_asked_for_is_no_answer(program):
    made = session(program("chatty"))
    made.call("double", X)
    with pytest.raises(StepError, match="the program said 'hello"):
        made.call("double", X)


def test_too_few_outputs_are_told(program):
    two = replace(DOUBLE, returns=DOUBLE.returns * 2)
    with pytest.raises(StepError, match="tiny's double gave 1 results, and returns 2"):
        session(program("few"), two).call("double", X)


def test_what_is_no_number_never_passes(program):
    got = session(program("nan")).call("double", X)
    verdict = judge.judge(Comparison("double", got, 2 * X, 1e9))
    assert not verdict.passed
    assert verdict.problem == "there is a NaN or an infinity in it"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("talks", r"the program said 'hello, I am a program\\n', which is no answer"),
        ("old", "speaks version '9' of the protocol, which is 1"),
        ("mute", "did not end within 1 s; it started then"),
    ],
)
def test_a_program_that_is_none_of_ours(program, how, message):
    with pytest.raises(StepError, match=message):
        program(how, 1 if how == "mute" else 20)


def alive(group: int) -> list[str]:
    """The processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, in_group = path.read_text().rpartition(")")[2].split()[:3]
            found += [path.parent.name] if in_group == str(group) and state != "Z" else []
    return found


def test_one_that_hangs_is_ended_with_its_children(program):
    machine, began = program("hang", 5), time.monotonic()
    with pytest.raises(StepError, match=r"did not end within 5 s; it ran double then") as caught:
        machine.call("double", [X])
    assert "SLIPWAY_CHECK_SECONDS" in caught.value.hint
    with pytest.raises(StepError):
        machine.close()
    assert time.monotonic() - began < 30
    assert not alive(machine._process.pid)


LATE = {
    "late-crash": "was ended by SIGSEGV when its work was done",
    "late-exit": "ended with status 3 when its work was done",
    "late-hang": "was ended by SIGKILL when it had not ended in 1 s",
}


@pytest.mark.parametrize("how", LATE)
def test_one_that_answers_and_then_does_not_end_well_is_told(program, how, monkeypatch):
    monkeypatch.setattr("pipeline.runners.program.PATIENCE", 1.0)
    machine = program(how)
    assert np.array_equal(session(machine).call("double", X), 2 * X)
    with pytest.raises(StepError, match=LATE[how]):
        machine.close()


def test_what_this_machine_lacks_is_no_failure_of_the_model(program):
    with pytest.raises(ToolMissing, match="no GPU") as caught:
        program("lacks")
    assert caught.value.hint == "install one (a big)"


def test_what_is_not_there_cannot_be_started():
    with pytest.raises(StepError, match="/no/such cannot be started: No such file"):
        Program(Launch(command=("/no/such",)), 1)


@pytest.mark.parametrize("closed", [True, False])
def test_a_file_system_that_runs_no_programs_is_what_is_told(closed, tmp_path, monkeypatch):
    (tmp_path / "program").write_text("#!/bin/sh")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=8 if closed else 0))
    with pytest.raises(StepError, match="cannot be started: Permission denied") as caught:
        Program(Launch(command=(str(tmp_path / "program"),)), 1)
    assert ("noexec" in (caught.value.hint or "")) is closed
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match="program cannot be started: Permission denied"):
        Program(Launch(command=("program",)), 1)


def test_arguments_are_held_against_the_signature_before_anything_is_sent(program):
    made = session(program("crash"))
    for wrong in (X.astype("float64"), X[0], X[:, :2]):
        with pytest.raises(StepError, match="tiny's double was called with x of float") as caught:
            made.call("double", wrong)
        assert caught.value.hint == "it takes x float32['n', 3]"


def test_what_no_model_takes_is_refused(program):
    with pytest.raises(StepError, match="a set cannot be given to a model"):
        program().call("double", [{1}])


def test_tensors_of_all_dtypes_have_names_that_both_sides_know():
    assert tensor_cache.as_dtype("float16").itemsize == 2


class Counting:
    """A machine that returns what it is given, or something to be kept; `count` is how often each was called."""

    emulated = None

    def __init__(self, seconds: float = 1e-3) -> None:
        self.count: dict[str, int] = {}
        self.seconds = seconds

    def call(self, function, arguments):
        self.count[function] = self.count.get(function, 0) + 1
        time.sleep(self.seconds)
        return (Held(1) if function == "make" else arguments[0]), self.seconds


def test_what_keeps_a_state_is_not_called_again():
    names = ("plain", "make", "step")
    functions = {name: Function(name, (Value("x", "object", None),), None) for name in names}
    machine = Counting()
    made = ModelSession("tiny", "f32", {}, None, functions, frozenset(), machine)
    made.call("plain", X)
    made.call("step", made.call("make", (1,)))
    made.repeat(20, 10.0)
    assert machine.count == {"plain": 20, "make": 1, "step": 1}
    assert [len(made.seconds[name]) for name in names] == [20, 1, 1]


def test_calling_again_ends_in_time():
    machine = Counting(0.1)
    made = ModelSession("tiny", "f32", {}, None, {"double": DOUBLE}, frozenset(), machine)
    made.call("double", X)
    made.repeat(1000, 0.3)
    assert 2 <= machine.count["double"] <= 6


def test_the_peak_is_the_programs_own(program):
    """Not that of this process, of which it was a fork: that has numpy, and more than 200 MB here."""
    ballast = np.ones(200 << 17)
    machine = program()
    assert machine.runtime("make", []) == Held(3)
    assert 1 << 20 < machine.close() < ballast.nbytes
