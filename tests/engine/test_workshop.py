"""What a step may do with its outputs: files in `out`, or texts that go straight to their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.action import Action, Job
from pipeline.engine.executor import Executor, Reads, Tools
from pipeline.engine.memory import Admission
from pipeline.errors import StepError


def made_by(run, tmp_path, outputs=("a", "b")):
    shop = Executor(str(tmp_path), Tools(lambda _: None), None, Admission(1 << 40))
    action = Action(step="try", subject="it", out="build/out", run=run, params={}, outputs=outputs)
    return shop.run(action, Reads({}, {}), 0)


def test_files_and_texts_are_outputs_alike(tmp_path):
    def run(job: Job):
        (job.out / "a").write_text("from a file")
        job.write("b", "at hand: ü")

    made = made_by(run, tmp_path)
    assert list(made.files) == ["a"]
    assert made.texts == {"b": "at hand: ü".encode()}
    assert made.log is None


def test_a_step_that_has_seen_its_log_may_have_written_to_it(tmp_path):
    def run(job: Job):
        job.write("a", b"")
        job.write("b", b"")
        job.log.write_text("said")

    made = made_by(run, tmp_path)
    assert made.log is not None
    assert Path(made.log).read_text() == "said"


def test_what_was_promised_and_is_not_there_is_told(tmp_path):
    with pytest.raises(StepError, match="did not write b"):
        made_by(lambda job: job.write("a", ""), tmp_path)


def test_two_contents_under_one_name_are_a_mistake(tmp_path):
    def run(job: Job):
        (job.out / "a").write_text("one")
        job.write("a", "two")

    with pytest.raises(StepError, match="wrote a twice"):
        made_by(run, tmp_path, ("a",))


def test_a_step_tried_by_itself_finds_its_texts_in_out(tmp_path):
    job = Job({}, {}, {}, tmp_path, tmp_path / "log", None)
    job.write("deep/a", "text")
    assert (tmp_path / "deep/a").read_text() == "text"
