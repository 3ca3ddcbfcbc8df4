"""What is proven of a model's numbers by the runs of its check: one by each runner."""

from __future__ import annotations

from dataclasses import replace

from pipeline.documents.run import Measured, Run, Verdict
from pipeline.runners.check import run_line
from pipeline.steps.verify import _numbers

RAN = Run("tiny-f16", "page", "webgpu", control="weights", compared=(Verdict("y", 4, 1e-2, 1e-3, 1.0, passed=True),))
MISSING = Run("tiny-f16", "page", "browser", lacks="there is no Chromium", hint="install Chromium (apt-get …)")
UNSUITED = replace(MISSING, lacks="the GPU x has no float16 (shader-f16)", hint="take float32", unsuited=True)


def states(*runs: Run) -> list[tuple[str, str]]:
    return [(one.name, one.state) for one in _numbers("tiny-f16", runs)]


def test_each_runner_answers_for_itself():
    both = states(RAN, replace(RAN, runner="browser"))
    assert both == [("numbers of tiny-f16", "proven"), ("numbers of tiny-f16 (browser)", "proven")]
    assert states() == [("numbers of tiny-f16", "not proven")]


def test_a_tool_that_is_missing_is_a_gap_whoever_else_ran():
    assert states(RAN, MISSING)[1] == ("numbers of tiny-f16 (browser)", "not proven")
    assert run_line([RAN, MISSING], "linked").endswith("; linked; not run by browser: install Chromium")


def test_what_a_runner_is_not_made_for_is_a_gap_only_where_nobody_ran():
    assert states(RAN, UNSUITED) == [("numbers of tiny-f16", "proven")]
    assert states(UNSUITED) == [("numbers of tiny-f16", "not proven")]
    assert states(replace(MISSING, runner="webgpu"), UNSUITED)[1][1] == "not proven"
    assert run_line([RAN, UNSUITED], "linked").endswith("; not run by browser: the GPU x has no float16")


def test_the_time_that_is_told_is_not_that_of_an_emulator_where_there_is_another():
    close = (Verdict("y", 4, 1e-2, 9e-3, 1.0, passed=True),)
    arm = Run(
        "tiny-f32",
        "arm",
        "native-cpp",
        emulated="qemu-user",
        compared=close,
        measured=Measured(1, 1, {"f": (9.0, 8.0)}),
    )
    here = replace(RAN, runner="native-cpp", measured=Measured(1, 1, {"f": (0.009, 0.003)}))
    said = run_line([here, arm], "linked")
    assert said == "run: native-cpp, max error 9.0e-03 (tolerance 1.0e-02), 3 ms/call; linked"
    assert run_line([arm], "linked").endswith("8.0 s/call (emulated); linked")


def test_of_several_models_the_time_of_the_slowest_is_told():
    small = replace(RAN, measured=Measured(1, 1, {"f": (0.003, 0.003)}))
    exact = (Verdict("y", 4, 1e-2, 1e-5, 1.0, passed=True),)
    large = replace(RAN, model="large-f16", compared=exact, measured=Measured(1, 1, {"f": (0.2, 0.2)}))
    for runs in ([small, large], [large, small]):
        assert run_line(runs, "linked") == "run: webgpu, max error 1.0e-03 (tolerance 1.0e-02), 200 ms/call; linked"
