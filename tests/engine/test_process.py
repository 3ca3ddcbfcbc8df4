"""The gateway for other programs: what its log and the debug log show, and how a failure reads."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline import process
from pipeline.errors import StepError, ToolMissing

SECRETS = {"HF_TOKEN": "hf_abcdefghijkl", "AWS_SECRET_ACCESS_KEY": "verysecret", "PROXY": "http://me:word@proxy:1/"}


def test_a_log_shows_the_command_with_its_environment_and_no_secret(tmp_path, caplog):
    log = tmp_path / "log"
    words = [sys.executable, "-c", "print('said')", "https://me:word@host/x?token=verysecret"]
    with caplog.at_level(logging.DEBUG, "pipeline"):
        process.run(words, log=log, env={"SDKROOT": "/sdk", "LANG": None, **SECRETS})
    for text in (log.read_text(), caplog.text):
        assert "SDKROOT=/sdk" in text
        assert "-u LANG" in text
        assert "HF_TOKEN=" in text
        assert not [secret for secret in ("abcdefghijkl", "verysecret", "word") if secret in text]
    assert log.read_text().endswith("\nsaid\n")


def test_the_program_gets_what_the_log_hides():
    code = "import os; print(os.environ['HF_TOKEN'])"
    assert process.run([sys.executable, "-c", code], env=SECRETS).output == "hf_abcdefghijkl\n"


STEERING = (
    "CFLAGS", "CPATH", "LD_RUN_PATH", "COMPILER_PATH", "CCC_OVERRIDE_OPTIONS", "EMCC_CFLAGS", "SDKROOT", "RUSTFLAGS",
    "CMAKE_OSX_ARCHITECTURES", "GIT_DIR", "PYTHONPATH", "SOURCE_DATE_EPOCH", "LANG",
)  # fmt: skip


def test_nothing_of_ours_steers_a_program_that_takes_part_in_a_build(monkeypatch):
    for name in STEERING:
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    words = [sys.executable, "-c", "import os; print(*os.environ)"]
    found = set(process.run(words).output.split())
    assert not found.intersection(STEERING)
    assert found >= {"PATH", "HOME", "TMPDIR", "HTTPS_PROXY", "LC_ALL"}
    assert set(process.run(words, inherit=True).output.split()) >= {*STEERING, "TMPDIR"}


def test_what_is_linked_does_not_depend_on_the_shell(tmp_path, monkeypatch):
    (tmp_path / "a.c").write_text("int a;")
    words = ["cc", "-shared", tmp_path / "a.c", "-o", tmp_path / "a.so"]
    process.run(words)
    before = (tmp_path / "a.so").read_bytes()
    for name, value in {"LD_RUN_PATH": "/elsewhere", "CPATH": "/elsewhere", "LDFLAGS": "-s"}.items():
        monkeypatch.setenv(name, value)
    process.run(words)
    assert (tmp_path / "a.so").read_bytes() == before


def test_a_failure_has_the_last_lines_and_the_log(tmp_path):
    code = "import sys; print('\\n'.join(map(str, range(99)))); sys.exit(7)"
    with pytest.raises(StepError, match="ended with status 7") as caught:
        process.run([sys.executable, "-c", code], log=tmp_path / "log")
    assert caught.value.what.splitlines()[-1].strip() == "98"
    assert caught.value.log == tmp_path / "log"


def test_a_missing_program_is_named_and_its_cause_kept():
    with pytest.raises(ToolMissing, match="no-such-program is not installed") as caught:
        process.run(["no-such-program"])
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_program_that_takes_too_long_is_ended():
    with pytest.raises(StepError, match=r"did not end within 0\.2 s"):
        process.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_what_is_no_program_is_said(tmp_path):
    program = tmp_path / "adb"
    program.write_bytes(b"")
    with pytest.raises(ToolMissing, match="adb cannot be run: Permission denied"):
        process.run([program])
    program.chmod(0o755)
    with pytest.raises(ToolMissing, match="adb cannot be run: Exec format error") as caught:
        process.run([program])
    assert "for this machine" in caught.value.hint


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (40, "signal 40")])
def test_a_signal_is_named(number, name):
    with pytest.raises(StepError, match=f"sh died of {name}"):
        process.run(["sh", "-c", f"kill -{number} $$"])


@pytest.mark.skipif(sys.platform != "linux", reason="who started what is known on Linux")
def test_what_a_program_has_started_ends_with_it(tmp_path):
    with pytest.raises(StepError, match="did not end within"):
        process.run(["sh", "-c", f"setsid sh -c 'echo $$ > {tmp_path}/pid; sleep 60' & wait"], timeout=1)
    stat = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    until = time.monotonic() + 10
    with suppress(FileNotFoundError, ProcessLookupError):
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until


def test_a_machine_that_has_no_descriptor_left_is_not_a_program_that_is_missing(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("subprocess.Popen", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        process.run(["true"])


def test_who_holds_the_output_of_a_program_that_has_ended_is_not_waited_for(tmp_path):
    """A daemon that it left behind, like the server of adb's or of a compiler."""
    began = time.monotonic()
    done = process.run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; echo said; echo late >&2"], timeout=30)
    assert (done.output, done.status) == ("said\nlate\n", 0)
    assert time.monotonic() - began < 20
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_program_that_closes_its_output_is_waited_for(tmp_path):
    process.run(["sh", "-c", f"exec >&- 2>&-; sleep 1.2; touch {tmp_path}/done"])
    assert (tmp_path / "done").exists()
    with pytest.raises(StepError, match="did not end within"):
        process.run(["sh", "-c", "exec >&- 2>&-; exec sleep 60"], timeout=0.1)


def test_a_warning_is_no_answer(tmp_path):
    words = ["sh", "-c", "echo careful >&2; echo answer; exit 3"]
    done = process.run(words, check=False, apart=True, log=tmp_path / "log")
    assert (done.output, done.errors) == ("answer\n", "careful\n")
    assert (tmp_path / "log").read_text().endswith("answer\ncareful\n")
    with pytest.raises(StepError, match=r"answer\n.*careful"):
        process.run(words, apart=True)
