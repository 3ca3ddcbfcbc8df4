"""What the executor makes of a step: its files in order, its log, and what it promised and did not write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.action import Action, Job
from pipeline.engine.executor import ExecutionResult, Executor, ResolvedInputs, Tools
from pipeline.engine.memory import Admission
from pipeline.errors import StepError


@dataclass(frozen=True)
class Params:
    pass


def no_worker(toolchain, *, fresh=None):
    raise AssertionError(toolchain)


@pytest.fixture
def executor(tmp_path: Path) -> Executor:
    return Executor(tmp_path, Tools(lambda _: None), no_worker, Admission(1 << 40))


def made_by(executor, run, outputs=("a", "b"), inputs=None) -> ExecutionResult:
    action = Action(step="try", subject="it", out="build/out", run=run, params=Params(), outputs=outputs)
    return executor.run(action, inputs or ResolvedInputs({}, {}), 0)


def test_all_files_of_a_step_are_outputs_sorted_by_path(executor):
    def run(job: Job):
        job.write("deep/c", "text: ü")
        (job.out / "b").write_text("b")
        job.write("a", b"a")

    made = made_by(executor, run)
    assert list(made.files) == ["a", "b", "deep/c"]
    assert Path(made.files["deep/c"]).read_text() == "text: ü"
    assert not made.log.exists()


def test_the_log_of_an_earlier_run_is_gone(executor):
    def run(job: Job):
        job.write("a", "")
        with job.log.open("a") as log:
            log.write("said\n")

    for _ in range(2):
        assert made_by(executor, run, ("a",)).log.read_text() == "said\n"


def test_an_output_that_was_promised_and_not_written_is_named(executor, tmp_path):
    with pytest.raises(StepError, match="did not write b"):
        made_by(executor, lambda job: job.write("a", ""))
    assert not list((tmp_path / "build/scratch").iterdir())
