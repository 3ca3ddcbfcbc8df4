"""Slips on the command line: each is answered with what to do, and none with a traceback."""

from __future__ import annotations

import subprocess

import pytest
from projects import DOIT


def run(folder, *words):
    return subprocess.run(
        [DOIT, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """What `doit init` makes."""
    root = tmp_path_factory.mktemp("started")
    assert run(root, "init").returncode == 0
    return root


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["complie"], "'complie' is neither a command nor a task nor a target\n  hint: did you mean compile?"),
        (["compile:scorer-f32@hots"], "did you mean compile:scorer-f32@host?"),
        (["zzz"], "hint: doit list shows the tasks"),
        (["info", "comple"], "did you mean compile?"),
        (["-n", "-3"], "-n takes a number of processes, 0 or more, not -3"),
        (["dumpdb"], "hint: doit explain TASK"),
        (["strace", "compile:scorer-f32@host"], "runs no command that could be traced"),
        (["plan", "--nope"], "option --nope not recognized\n  hint: doit help plan"),
        (["--nope"], "option --nope not recognized"),
    ],
)
def test_a_slip_is_answered_with_what_to_do(started, words, said):
    done = run(started, *words)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "CmdOption" not in done.stderr


@pytest.mark.parametrize("command", ["plan", "graph", "list", "clean", "import", "verify-app", "init", "doctor", "run"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_a_flag_away(tmp_path, command, flag):
    done = run(tmp_path, command, flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PURPOSE\n")


@pytest.mark.parametrize("words", [[], ["plan"], ["list"], ["complie"], ["cache", "info"]])
def test_without_a_project_the_way_to_one_is_said(tmp_path, words):
    done = run(tmp_path, *words)
    assert done.returncode == 3
    assert f"there is no dodo.py in {tmp_path}\n  hint: doit init starts a project here" in done.stderr
    (tmp_path / "dodo.py").write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert "hint: the project is in ../..: go there, or say doit -k" in run(below, *words).stderr


def test_a_reader_that_leaves_is_no_error(started):
    script = f"{DOIT} list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=started, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_says_its_version_and_that_there_is_no_matrix(tmp_path):
    done = run(tmp_path, "doctor")
    assert done.stdout.startswith("Slipway ")
    assert done.stdout.rstrip().endswith("doit init makes one")
