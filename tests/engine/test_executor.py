"""What a step may do with its outputs and its log, and what is left of a job afterwards."""

from __future__ import annotations

import pytest

from pipeline.action import Action, Job
from pipeline.engine.executor import SCRATCH, Executor, ResolvedInputs, Tools
from pipeline.engine.memory import Admission
from pipeline.errors import StepError


def executor(root):
    return Executor(root, Tools(lambda _: None), None, Admission(1 << 40))


def made_by(run, tmp_path, outputs=("a", "b")):
    action = Action(step="try", subject="it", out="build/out", run=run, params={}, outputs=outputs)
    return executor(tmp_path).run(action, ResolvedInputs({}, {}), 0)


def test_files_and_texts_are_outputs_alike(tmp_path):
    def run(job: Job):
        (job.out / "a").write_text("from a file")
        job.write("deep/b", "at hand: ü")

    made = made_by(run, tmp_path, ("a", "deep/b"))
    assert list(made.files) == ["a", "deep/b"]
    assert (made.out / "deep/b").read_bytes() == "at hand: ü".encode()
    executor(tmp_path).clear_away(made.out)
    assert not list((tmp_path / SCRATCH).iterdir())


def test_what_tools_print_is_kept(tmp_path):
    def run(job: Job):
        job.write("a", b"")
        job.log.write_text("said")

    assert made_by(run, tmp_path, ("a",)).log.read_text() == "said"
    assert not made_by(lambda job: job.write("a", b""), tmp_path, ("a",)).log.exists()


def test_what_was_promised_and_is_not_there_is_told_and_nothing_is_left(tmp_path):
    with pytest.raises(StepError, match="did not write b"):
        made_by(lambda job: job.write("a", ""), tmp_path)
    assert not list((tmp_path / SCRATCH).iterdir())
