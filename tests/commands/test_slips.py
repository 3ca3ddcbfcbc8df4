"""Slips on the command line: each is answered with what to do, and none with a traceback."""

from __future__ import annotations

import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import DOIT

from pipeline import __version__

COMMANDS = (
    "bench", "cache", "cells", "deploy", "doctor", "explain", "gc", "graph", "import", "init", "merge-app-config",
    "plan", "profile", "verify-app", "version",
)  # fmt: skip
DOITS_COMMANDS = (
    "clean", "dumpdb", "forget", "help", "ignore", "info", "list", "reset-dep", "run", "strace", "tabcompletion",
)  # fmt: skip
TAKE_TASKS = ("list", "clean", "forget", "ignore", "info", "reset-dep", "strace", "plan", "explain", "graph")
TAKE_NONE = ("cells", "doctor", "dumpdb", "gc", "profile", "tabcompletion", "version")


def run(folder, *words, env=None):
    return subprocess.run(
        [DOIT, *words],
        cwd=folder, env={**os.environ, **(env or {})},
        capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


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
        (["plna"], "did you mean plan?"),
        (["compile:scorer-f32@hots"], "did you mean compile:scorer-f32@host?"),
        (["zzz"], "hint: doit list shows the tasks"),
        (["complie*"], "'complie*' is neither a command"),
        (["help", "complie"], "did you mean compile?"),
        (["info", "comple"], "did you mean compile?"),
        (["info"], "info takes one task, not 0\n  hint: doit list --all names them"),
        *(([name, "comple"], "'comple' is not a task\n  hint: did you mean compile?") for name in TAKE_TASKS),
        (["ignore"], "ignore which task?"),
        (["-n", "-3"], "-n takes a number from 0 to 1000, not -3"),
        (["-n", "many"], "-n takes a number from 0 to 1000, not 'many'"),
        (["-n", "9" * 400], "-n takes a number from 0 to 1000, not 999"),
        (["plan", "compile", "--workers"], "option --workers requires argument\n  hint: doit plan --workers VALUE"),
        (["import", "x.json", "-o"], "option -o requires argument\n  hint: doit import -o VALUE"),
        (["-n"], "option -n requires argument"),
        (["plan", "-n", "-3"], "-n takes a number from 0 to 1000, not -3"),
        (["cells", "--group-by", "x"], "--group-by takes one of model, variant, backend, cell, not 'x'"),
        (["dumpdb"], "hint: doit explain TASK"),
        (["dumpdb", "--db-file", "targets.yaml"], "hint: doit explain TASK"),
        (["strace", "compile:scorer-f32@host"], "runs no command that could be traced"),
        (["plan", "--nope"], "option --nope not recognized\n  hint: doit help plan"),
        (["plan", "--jsn"], "hint: did you mean --json?"),
        (["--nope"], "option --nope not recognized"),
        (["compile:scorer-f32@host", "--strict"], "hint: options stand before tasks: doit --strict TASK"),
        (
            ["compile", "-n", "2"],
            "-n stands behind a task, where only options of that task may stand\n  hint: options stand",
        ),
        (["compile", "-a"], "hint: options stand before tasks: doit -a TASK"),
        (["run", "compile", "-c"], "hint: options stand before tasks: doit -c TASK"),
        (["compile", "-Z"], "option -Z not recognized\n  hint: doit help run"),
        (["list", "--template", "{nope}"], "the fields are {name}, {doc}"),
        (["list", "--template", "{"], "the fields are {name}, {doc}"),
        (["run", "-o", "recipes"], "-o recipes: cannot be written: Is a directory"),
        (["run", "-o", "nope/log"], "-o nope/log: cannot be written: No such file or directory"),
        (["-f", "targets.yaml"], "targets.yaml is not a Python file"),
        (["-f", "recipes"], "recipes is not a Python file"),
        (["-f", "nope.py"], "there is no nope.py in"),
        (["plan", "--workers"], "option --workers requires argument\n  hint: doit plan --workers VALUE"),
        (["-n"], "option -n requires argument\n  hint: doit -n VALUE"),
        (["plan", "--workers", "100000000"], "--workers takes a number from 0 to 1000, not 100000000"),
        (["init", "/proc/x"], "hint: make its directory, or name another place"),
        (["compile:scorer-f32@ios"], "did you mean compile:scorer-f32@ios-arm64?"),
        (["plan", "compile:scorer-f32@andriod"], "did you mean compile:scorer-f32@android-arm64?"),
        (["--on", "tcp://h:1?x=1"], "'tcp://h:1?x=1' is no address of a scheduler"),
        (["worker", "tcp://h:1?x=1"], "'tcp://h:1?x=1' is no address of a scheduler"),
        (["verify-app", "no=such.ipa"], "no=such.ipa: cannot be read"),
        (["cache", "merge", "no/such=store"], "no/such=store: "),
        (["doctor", "targets=other.yaml"], "other.yaml: there is no such file"),
        (["worker", "--resources", "memory=x", "tcp://h:1"], "--resources memory=x is not a name and a number"),
        (["worker", "tcp://h:1", "--resources", "gpu=-1"], "--resources gpu=-1 is not a name and a number"),
        (["worker", "--name", "x" * 101, "tcp://h:1"], "--name is no word of up to 100 characters"),
        (["worker", "--folder", "a=b", "tcp://h"], "'tcp://h' is no address of a scheduler"),
        *(([name, "word"], f"{name} takes no arguments, not 'word'\n  hint: doit help {name}") for name in TAKE_NONE),
    ],
)
def test_a_slip_is_answered_with_what_to_do(started, words, said):
    done = run(started, *words)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "CmdOption" not in done.stderr


def test_the_environment_and_the_configuration_of_doit_are_checked_like_the_command_line(started, tmp_path):
    done = run(started, "list", env={"SLIPWAY_STRICT": "perhaps", "DOIT_SEEK_FILE": "perhaps"})
    assert (done.returncode, done.stderr) == (
        3,
        "ERROR: DOIT_SEEK_FILE takes 0 or 1, not 'perhaps'\n  hint: doit help list\n",
    )
    (tmp_path / "doit.cfg").write_text("[GLOBAL]\nnum_process = many\n")
    done = run(tmp_path, "run")
    assert done.returncode == 3
    assert done.stderr.startswith("ERROR: -n takes a number from 0 to 1000, not 'many'\n  hint: correct doit.cfg")


@pytest.mark.parametrize("command", ["run", "list", "plan", "clean"])
def test_a_variable_of_ours_takes_only_what_it_takes_whatever_the_command(started, command):
    for name, value in {"SLIPWAY_WAIT": "no", "SLIPWAY_DEBUG": "yes", "SLIPWAY_CHECK_SECONDS": "0"}.items():
        done = run(started, command, env={name: value})
        assert done.returncode == 3
        assert f"{name} takes " in done.stderr
        assert f"not '{value}'\n  hint: correct it, or leave it out: unset {name}\n" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_variable_with_nearly_a_name_of_ours_is_told(started):
    done = run(started, "plan", env={"SLIPWAY_STRIKT": "1"})
    assert done.returncode == 0
    assert "did you mean SLIPWAY_STRICT?" in done.stderr


def test_a_dodo_without_tasks_says_so_and_a_slip_in_its_import_is_named(tmp_path):
    (tmp_path / "dodo.py").write_text("")
    done = run(tmp_path)
    assert done.returncode == 0
    assert "dodo.py: it has no tasks\n  hint: " in done.stderr
    (tmp_path / "dodo.py").write_text("from pipelin.dodo import DOIT_CONFIG, task_slipway\n")
    done = run(tmp_path)
    assert done.returncode == 3
    assert done.stderr.endswith("hint: did you mean `pipeline`?\n")


def test_options_may_stand_behind_other_words(started):
    assert "compile:scorer-f32@host" in run(started, "list", "compile", "--all").stdout


def test_forgetting_without_a_task_forgets_all_where_that_is_asked_for(started):
    done = run(started, "forget", "--enable-default")
    assert done.returncode == 0
    assert "forgetting compile:scorer-f32@host" in done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, *DOITS_COMMANDS])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_a_flag_away(tmp_path, command, flag):
    done = run(tmp_path, command, flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PURPOSE\n")
    assert "CmdOption" not in done.stdout


def test_help_without_a_command_lists_the_commands(tmp_path):
    for words in (["-h"], ["--help"], ["help"]):
        done = run(tmp_path, *words)
        assert done.returncode == 0
        assert all(f"  doit {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("words", [[], ["plan"], ["list"], ["complie"], ["cache", "info"], ["help", "complie"]])
def test_without_a_project_the_way_to_one_is_said(tmp_path, words):
    done = run(tmp_path, *words)
    assert done.returncode == 3
    assert f"there is no dodo.py in {tmp_path}\n  hint: doit init starts a project here" in done.stderr
    (tmp_path / "dodo.py").write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert "hint: the project is in ../..: go there, or say doit -k" in run(below, *words).stderr


DELAYED = b"""from doit import create_after
def task_a():
    return {"actions": ["true"]}
@create_after("a")
def task_b():
    1/0
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"x = = 3\n", "dodo.py:1:5: this is not Python: invalid syntax"),
        (b"x = (\n", "dodo.py:1:5: this is not Python: '(' was never closed"),
        (b"\x00\x01", "this is not Python"),
        (b"\xff\xfe", "this is not Python"),
        (b"name\n", "dodo.py:1: NameError: name 'name' is not defined\n  hint: correct it"),
        (b"import nope\n", "dodo.py:1: ModuleNotFoundError: No module named 'nope'\n  hint: install what provides"),
        (b"import pipeline.mine\n", "hint: `pipeline` is Slipway's own package here"),
        (b"import json\njson.loads('{')\n", "dodo.py:2: JSONDecodeError: "),
        (b"def task_a():\n    1/0\n", "dodo.py:2: ZeroDivisionError: division by zero"),
        (b"def task_a():\n    return 3\n", "Task 'a'. Must return a dictionary"),
        (b"from helper import x\n", "helper.py:1: ZeroDivisionError"),
        (DELAYED, "dodo.py:6: ZeroDivisionError"),
    ],
)
def test_a_mistake_in_dodo_py_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "helper.py").write_text("x = 1 / 0\n")
    (tmp_path / "dodo.py").write_bytes(text)
    commands = [["list"], ["run"], ["help", "x"]] if text != DELAYED else [["run"]]
    for words in commands:
        done = run(tmp_path, *words)
        assert done.returncode == 3
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    if "Error" in said:
        assert "Traceback" in run(tmp_path, "run", env={"SLIPWAY_DEBUG": "1"}).stderr


@pytest.mark.parametrize("size", [0, 20, 90])
def test_bytecode_that_a_full_disk_cut_is_written_again(tmp_path, size):
    (tmp_path / "dodo.py").write_text("from helper import task_a\n")
    helper = tmp_path / "helper.py"
    helper.write_text("def task_a():\n    return {'actions': ['echo hello'], 'doc': 'says something'}\n")
    cut = Path(py_compile.compile(str(helper)))
    cut.write_bytes(cut.read_bytes()[:size])
    done = run(tmp_path, "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "says something" in done.stdout


SHELL = {
    "list | true": 0,
    "list >&-": 0,
    "plan >&-": 0,
    "graph | head -1": 0,
    "list >/dev/full": 3,
    "help plan | true": 0,
}


@pytest.mark.parametrize(("line", "status"), SHELL.items())
def test_whoever_reads_may_leave(started, line, status):
    script = f"{DOIT} {line}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=started, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status
    assert done.stderr == ("ERROR: the output could not be written: No space left on device\n" if status else "")


def test_marks_that_the_terminal_cannot_show_are_escaped(started):
    done = run(started, "plan", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u25b8 toolchain:current" in done.stdout


@pytest.mark.tvm
def test_a_run_whose_reader_leaves_is_a_run_all_the_same(started):
    for line in ("compile:scorer-f32@host >&-", "| true", "| true", ">&-"):  # the last two have nothing left to do
        script = f"{DOIT} {line}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], cwd=started, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+ tasks, all fresh: nothing to do\.\n", run(started).stdout)
    assert "-n takes a number" in run(started, "-n", "-3").stderr
    assert "requires argument" in run(started, "-n").stderr
    listed = run(started, "list", "--status").stdout.splitlines()
    assert {line.split()[0] for line in listed} == {"U"}
    (started / "dist/native/link.json").unlink()
    listed = dict(line.split()[1::-1] for line in run(started, "list", "--all", "--status").stdout.splitlines())
    assert (listed["product"], listed["product:native"], listed["product:ios"]) == ("R", "R", "U")


@pytest.mark.parametrize("kind", ["pipeline/__init__.py", "pipeline.py", "pipeline/module.py"])
def test_a_package_of_the_users_with_the_name_of_ours_is_not_taken_for_it(started, tmp_path, kind):
    shutil.copytree(started, tmp_path / "project", ignore=shutil.ignore_patterns("build", "dist"))
    mine = tmp_path / "project" / kind
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("raise RuntimeError('not yours')\n")
    for program in ([DOIT], [sys.executable, "-m", "doit"]):
        done = subprocess.run(
            [*program, "list"], cwd=tmp_path / "project", capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "xcframework" in done.stdout


def test_versions(tmp_path):
    said = run(tmp_path, "version").stdout
    assert said.startswith(f"Slipway {__version__}, doit ")
    assert json.loads(run(tmp_path, "version", "--json").stdout)["Slipway"] == __version__


def test_doctor_says_its_version_and_that_there_is_no_matrix(tmp_path):
    done = run(tmp_path, "doctor")
    assert done.stdout.startswith("Slipway ")
    assert done.stdout.rstrip().endswith("doit init makes one")


@pytest.mark.parametrize(
    "words",
    [
        *(f"{name} --json" for name in ("plan", "devices", "doctor", "gc", "profile", "bench", "cache stats")),
        "explain --json verify:host", "cells --format json", "merge-app-config --json a.json",
        "plan --json nothing:here", "explain --json nothing:here", "verify-app --json nowhere.apk",
        "deploy --json --dist nowhere", "plan --jsno --json", "plan --json --workers=x", "doctor --json two words",
        "cells --format json --foo", "gc --json --max-age",
    ],
)  # fmt: skip
def test_a_program_that_asked_for_json_gets_json_when_something_is_wrong(started, tmp_path, words):
    project = tmp_path / "project"
    shutil.copytree(started, project)
    if "nothing:here" not in words:
        project.joinpath("targets.yaml").write_text("version: 1\nversion: 1\n")
    done = run(project, *words.split())
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["ok"]) == (1, False)
    assert document["error"]["what"] in done.stderr, "and somebody who reads the log sees it, too"
    assert (document["error"]["hint"] or "hint: ") in done.stderr


@pytest.mark.parametrize(("name", "bad"), [("two\nlines", "'\\n'"), ("no text \udcff", "'\\udcff'")])
def test_a_folder_whose_name_cmake_cargo_and_tvm_do_not_take(started, tmp_path, name, bad):
    shutil.copytree(started, tmp_path / name)
    done = run(tmp_path / name, "plan")
    assert done.returncode == 3
    assert f"the project lies in a folder whose name holds {bad}, which CMake" in done.stderr
    assert "hint: give that folder another name" in done.stderr
