"""Findings become a report, facts, or an error that says everything."""

from __future__ import annotations

import json

import pytest

from pipeline.documents.codec import dumps
from pipeline.documents.report import Report
from pipeline.errors import VerifyError
from pipeline.proofs.report import (
    counted,
    facts,
    failed,
    not_proven,
    open_summary,
    proven,
    settle,
)

GOOD = proven("members", "4 objects")
BAD = failed("symbols", "no library_bin", "rebuild it")
WORSE = failed("closure", "f is nowhere", "link it")
OPEN = not_proven("constructors", "no ld64.lld found", "install lld")


def test_a_report_can_be_read_back(tmp_path):
    written = Report("ios", (GOOD, OPEN), "not proven: no ld64.lld found")
    (tmp_path / Report.NAME).write_text(dumps(written))
    assert Report.read(tmp_path) == written
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == {
        "subject": "ios",
        "checks": [
            {"name": "members", "state": "proven", "saw": "4 objects", "hint": None},
            {"name": "constructors", "state": "not proven", "saw": "no ld64.lld found", "hint": "install lld"},
        ],
        "proven": "not proven: no ld64.lld found",
    }


def test_facts_are_few():
    assert facts([GOOD, OPEN], "line", {"m-f32": "line of its own"}) == {
        "proven": "line",
        "models": {"m-f32": "line of its own"},
        "checks": 2,
        "not_proven": 1,
        "states": {"members": "proven", "constructors": "not proven"},
    }


def test_what_is_proven_or_open_passes(tmp_path):
    settle("ios", [GOOD, OPEN], strict=False, log=tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_what_is_open_does_not_pass_when_strict(tmp_path):
    with pytest.raises(VerifyError) as caught:
        settle("ios", [GOOD, OPEN], strict=True, log=tmp_path / "log")
    assert "1 of 2 checks could not be made: constructors: no ld64.lld found\n" in str(caught.value)
    assert caught.value.hint == "install lld"


@pytest.mark.parametrize("strict", [False, True])
def test_every_failure_is_listed_and_the_whole_report_is_in_the_log(tmp_path, strict):
    with pytest.raises(VerifyError) as caught:
        settle("ios", [GOOD, BAD, WORSE], strict=strict, log=tmp_path / "log")
    message = str(caught.value)
    for text in ("2 of 3 checks failed", "symbols (failed): no library_bin", "hint: rebuild it", "hint: link it"):
        assert text in message
    logged = json.loads((tmp_path / "log").read_text())
    assert [check["state"] for check in logged["checks"]] == ["proven", "failed", "failed"]


def test_a_hint_that_several_findings_share_is_said_once(tmp_path):
    with pytest.raises(VerifyError) as caught:
        settle("ios", [OPEN, OPEN], strict=True, log=tmp_path / "log")
    assert str(caught.value).count("install lld") == 1


def test_the_summary_says_what_is_missing_and_what_to_do():
    check = not_proven("constructors", "no ld64.lld found", "install lld (Debian: apt-get install lld)")
    assert open_summary(check) == "not proven: no ld64.lld found, install lld"


def test_things_are_counted():
    assert (counted(1, "slice"), counted(2, "slice")) == ("1 slice", "2 slices")
