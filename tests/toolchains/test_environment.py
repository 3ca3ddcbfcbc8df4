"""Environments of toolchains: made once, pinned, remade when something is wrong with them. With the real pip."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_wheels import wheel

from pipeline.errors import Position, StepError, ToolMissing
from pipeline.matrix.cells import Toolchain
from pipeline.toolchains.environment import Environment
from pipeline.toolchains.spec import MARKER, is_made
from pipeline.tools.finder import Finder

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def toolchain(**changes) -> Toolchain:
    fields = {
        "name": "mine", "requirements": (), "find_links": (), "pre": False, "python": None, "path": None,
        "source": None, "where": Position("targets.yaml", 3, 3),
    }  # fmt: skip
    return Toolchain(**fields | changes)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A project's directory with wheels `a` 1.0 and 1.1, and an index that has nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join(p for p in os.get_exec_path() if not Path(p, "uv").exists()))
    for version in ("1.0", "1.1"):
        wheel(tmp_path / "wheels", "a", version, {"a.py": f"VERSION = {version!r}\n"})
    return tmp_path


class Made:
    """An environment that was asked for, and how often it had to be made."""

    def __init__(self, desk, frozen=None, **changes):
        given = {"requirements": ("a",), "find_links": ("wheels",)}
        self.environment = Environment(toolchain(**given | changes), desk, frozen)
        self.notes = []

    def ensure(self):
        return self.environment.ensure(log=self.environment.root / "log", note=self.notes.append)

    def version(self):
        code = "import a; print(a.VERSION)"
        return subprocess.run([self.ensure(), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_it_is_made_where_its_spec_says_and_what_came_of_it_is_exact(desk):
    made = Made(desk)
    assert not made.environment.usable
    assert made.version() == "1.1"
    assert made.environment.made_of() == ("a==1.1",)
    assert made.environment.usable
    assert made.environment.folder.parent == desk / "build" / "toolchains"
    assert len(made.notes) == 1


def test_with_the_lock_it_is_made_as_it_was_and_only_once(desk):
    first = Made(desk, frozen=("a==1.0",))
    assert first.version() == "1.0"
    second = Made(desk, frozen=("a==1.0",))
    assert second.version() == "1.0"
    assert (len(first.notes), len(second.notes)) == (1, 0)


def test_another_pin_remakes_it(desk):
    Made(desk, frozen=("a==1.0",)).ensure()
    assert Made(desk, frozen=("a==1.1",)).version() == "1.1"


def test_without_a_pin_it_is_resolved_anew(desk):
    Made(desk, frozen=("a==1.0",)).ensure()
    assert Made(desk).version() == "1.1", "the entry was deleted from slipway.lock to get something newer"


def test_another_spec_is_another_directory(desk):
    assert Made(desk).environment.folder != Made(desk, requirements=("a", "b")).environment.folder
    assert Made(desk).environment.folder == Made(desk, frozen=("a==1.0",)).environment.folder


@pytest.mark.parametrize("damage", ["marker", "python", "package"])
def test_a_damaged_one_is_made_again(desk, damage):
    Made(desk, frozen=("a==1.1",)).ensure()
    folder = Made(desk).environment.folder
    if damage == "marker":
        (folder / MARKER).unlink()
    elif damage == "python":
        (folder / "bin" / "python").unlink()
    else:
        python = folder / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "-f", desk / "wheels", "a==1.0"], check=True)
    again = Made(desk, frozen=("a==1.1",))
    assert again.version() == "1.1"
    assert len(again.notes) == 1


def test_a_killed_installation_leaves_nothing_that_counts(desk):
    made = Made(desk, requirements=("a", "does-not-exist"))
    with pytest.raises(StepError, match="does-not-exist") as caught:
        made.ensure()
    assert caught.value.log.is_file()
    assert "find_links" in caught.value.hint
    assert not made.environment.usable


def test_two_at_once_make_it_once(desk):
    all_made = [Made(desk, frozen=("a==1.0",)) for _ in range(3)]
    threads = [threading.Thread(target=made.ensure) for made in all_made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(made.notes) for made in all_made) == 1


def test_a_pin_that_the_index_no_longer_has(desk):
    with pytest.raises(StepError) as caught:
        Made(desk, frozen=("a==9.9",)).ensure()
    assert "delete the toolchain's entry from slipway.lock" in caught.value.hint


def test_a_python_that_is_not_here(desk):
    made = Made(desk, python="3.99")
    with pytest.raises(ToolMissing, match=r"asks for Python 3\.99") as caught:
        made.ensure()
    assert HERE in caught.value.hint


def test_the_python_that_runs_us_will_do_where_it_is_the_one_asked_for(desk):
    assert Made(desk, python=HERE).version() == "1.1"


def test_what_is_ours_to_make():
    assert is_made(toolchain(requirements=("a",)))
    assert is_made(toolchain(python="3.12"))
    assert not is_made(toolchain(path="env"))
    assert not is_made(toolchain(source="mlc-llm"))
    assert Environment(toolchain(), Path("/")).kind == "current"


def test_an_environment_of_the_users_must_be_there(desk):
    with pytest.raises(ToolMissing, match="there is no Python at"):
        Made(desk, path="env", requirements=(), find_links=()).ensure()


@pytest.mark.parametrize("path", ["env", "env/bin/python"])
def test_an_environment_of_the_users_is_its_directory_or_its_interpreter(desk, path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", desk / "env"], check=True)
    made = Made(desk, path=path, requirements=(), find_links=())
    assert made.ensure() == desk / "env" / "bin" / "python"
    assert made.notes == []


def test_a_home_directory_may_be_meant(desk, monkeypatch):
    monkeypatch.setenv("HOME", str(desk))
    assert Environment(toolchain(path="~/env/bin/python"), Path("/")).python == desk / "env" / "bin" / "python"
    assert Environment(toolchain(source="~/mlc-llm"), Path("/")).source == desk / "mlc-llm"


UV = """#!{python}
import os, subprocess, sys
with open({log!r}, "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if words[0] == "venv":
    sys.exit(subprocess.run([sys.executable, "-m", "venv", words[-1]]).returncode)
python = words[words.index("--python") + 1]
rest = [word for word in words[2:] if word not in ("--python", python, "--compile-bytecode")]
sys.exit(subprocess.run([python, "-m", "pip", words[1], *rest]).returncode)
"""


def fake_uv(desk, monkeypatch) -> Path:
    """A fake of uv that has pip do what it is told; returns the file in which it keeps what that was."""
    log, program = desk / "uv.log", desk / "programs" / "uv"
    program.parent.mkdir()
    program.write_text(UV.format(python=sys.executable, log=str(log)))
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def test_uv_is_taken_where_it_is_and_would_look_in_the_same_places(desk, monkeypatch):
    log = fake_uv(desk, monkeypatch)
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:1/simple")
    assert Made(desk, frozen=("a==1.0",)).version() == "1.0"
    words = log.read_text()
    assert words.startswith("venv --python")
    assert "pip install --compile-bytecode" in words


def test_an_index_that_only_pip_knows_is_not_passed_by(desk, monkeypatch):
    log = fake_uv(desk, monkeypatch)  # PIP_NO_INDEX is a setting that uv does not read
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    made = Made(desk, frozen=("a==1.0",))
    assert made.version() == "1.0"
    assert not log.exists()
    assert "installing with pip" in (desk / "log").read_text()


# What enters keys


def found(desk, environment: Environment):
    return Finder(desk / "tools", lambda name: environment if name == "mine" else None).find("python:mine")


def test_an_environment_of_ours_says_the_same_before_and_after_it_is_made(desk):
    made = Made(desk)
    before = found(desk, made.environment)
    made.ensure()
    assert found(desk, made.environment).version == before.version


def test_an_environment_of_the_users_says_what_is_in_it(desk):
    subprocess.run([sys.executable, "-m", "venv", desk / "env"], check=True)
    environment = Environment(toolchain(path="env"), desk)
    before = found(desk, environment)
    python = desk / "env" / "bin" / "python"
    wheel(desk / "wheels", "mlc-llm-nightly-cpu", "0.20")
    subprocess.run([python, "-m", "pip", "install", "-q", "-f", desk / "wheels", "mlc-llm-nightly-cpu"], check=True)
    after = found(desk, environment)
    assert "mlc-llm-nightly-cpu 0.20" in after.version
    assert before.version != after.version
    (desk / "env" / "bin" / "mlc_llm").write_text("#!/bin/sh\nexit 0\n")
    assert found(desk, environment).version != after.version


def test_a_checkout_says_what_is_in_it(desk):
    module = desk / "checkout" / "python" / "mlc_llm" / "model.py"
    module.parent.mkdir(parents=True)
    module.write_text("A = 1\n")
    environment = Environment(toolchain(source="checkout"), desk)
    before = found(desk, environment)
    assert environment.path == (desk / "checkout" / "python",)
    assert environment.variables["MLC_LLM_SOURCE_DIR"] == str(desk / "checkout")
    module.write_text("A = 2\n")
    assert found(desk, environment).version != before.version
    watched = Finder(desk / "tools", lambda _: environment).watch_paths("python:mine")
    assert module in watched
    assert module.parent in watched


def test_a_source_that_is_no_checkout(desk):
    (desk / "checkout").mkdir()
    with pytest.raises(ToolMissing, match="no checkout of mlc-llm"):
        found(desk, Environment(toolchain(source="checkout"), desk))


def test_an_environment_that_is_not_there_is_no_tool(desk):
    assert found(desk, Environment(toolchain(path="env"), desk)) is None
