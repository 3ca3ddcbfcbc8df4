"""The programs that run modules in Node and in Chromium: real ones both, with a fake of the web runtime."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_program import alive

from pipeline.action import Tool
from pipeline.compilers import tensor_cache
from pipeline.errors import StepError, ToolMissing, Unsuited
from pipeline.runners.machine import Launch, Parameter
from pipeline.runners.node import _WEB, _in_chromium, installed
from pipeline.runners.program import Program
from pipeline.tools.finder import PROGRAMS

CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS["chromium"])), None)
FAKE = Path(__file__).parent / "fake_web_runtime.js"
X = np.arange(6, dtype="float32").reshape(2, 3)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("node") and shutil.which("npm")), reason="there is no Node"
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """What npm installs, with the fake in place of the web runtime."""
    folder = tmp_path_factory.mktemp("packages")
    real = installed(Tool("npm", Path(shutil.which("npm") or ""), ""), folder / "log") / "node_modules"
    (folder / "node_modules/@mlc-ai/web-runtime/lib").mkdir(parents=True)
    (folder / "node_modules/@mlc-ai/web-runtime/lib/index.js").symlink_to(FAKE)
    (folder / "node_modules/@mlc-ai/web-runtime/package.json").write_text('{"main": "lib/index.js"}')
    for name in ("playwright-core", "webgpu", "debug", "ms"):
        (folder / "node_modules" / name).symlink_to(real / name)
    return folder


@pytest.fixture
def start(packages, tmp_path):
    """Start a program with a module; whatever is left of it ends with the test."""
    started: list[Program] = []
    folders: list[Path] = []

    def run(program: str, how: str, *, device: str = "cpu", chromium: str | None = CHROMIUM):
        if program == "browser" and chromium is None:
            pytest.skip("there is no Chromium")
        (tmp_path / "model.wasm").write_text(how)
        script = "browser.mjs" if program == "browser" else "program.mjs"
        words = ["node", str(_WEB / script), str(packages), str(tmp_path / "model.wasm"), device]
        words += [str(chromium), str(tmp_path / "page.png")] if program == "browser" else []
        # The path of a socket of Chromium's may have 107 bytes, and folders of tests are deep.
        folders.append(Path(tempfile.mkdtemp(prefix="page-", dir="/tmp")))
        started.append(Program(Launch(command=tuple(words), env={"TMPDIR": str(folders[-1])}), 60))
        return started[-1]

    yield run
    for one in started:
        with suppress(StepError):
            one.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def parameters(tmp_path) -> Path:
    """One weight: 7."""
    folder = tmp_path / "parameters"
    folder.mkdir()
    tensor_cache.write([("weight", np.array([7], "float32")), ("other", X)], folder)
    return folder


both = pytest.mark.parametrize("program", ["node", "browser"])


@both
def test_numbers_go_there_and_come_back_and_bad_parameters_are_told(start, program, parameters, tmp_path):
    machine = start(program, "well")
    machine.use_parameters(parameters)
    large = np.zeros((1000, 1000), "float32")
    assert np.array_equal(machine.call("add", [X, Parameter("weight")])[0], X + 7)
    assert np.array_equal(machine.call("add", [large, Parameter("weight")])[0], large + 7)
    assert machine.emulated is None
    shard = parameters / "params_shard_0.bin"
    shard.write_bytes(shard.read_bytes()[:9])
    with pytest.raises(StepError, match=r"params_shard_0\.bin has 9 bytes, and tensor-cache\.json says 28"):
        machine.use_parameters(parameters)
    shard.unlink()
    with pytest.raises(StepError, match=r"loading the parameters failed: .*no such file.*params_shard_0\.bin"):
        machine.use_parameters(parameters)
    assert machine.close() > 1 << 24
    if program == "browser":
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


@both
def test_a_module_that_does_not_start_is_told(start, program):
    with pytest.raises(StepError, match=r"node cannot load the model: import env\.TVMNothing: no page has it"):
        start(program, "refuses")


def test_a_call_that_fails_ends_nothing(start, parameters):
    machine = start("node", "throws")
    machine.use_parameters(parameters)
    for _ in range(2):
        with pytest.raises(StepError, match="add failed: Check failed: x is odd"):
            machine.call("add", [X, Parameter("weight")])


def chromium_of(machine: Program) -> int:
    """The process of Chromium, which is the group of all of its."""
    node = machine._process.pid
    return int(Path(f"/proc/{node}/task/{node}/children").read_text().split()[0])


@both
def test_one_that_hangs_is_ended_with_its_children(start, program, parameters):
    machine = start(program, "hangs")
    machine.use_parameters(parameters)
    machine._deadline = time.monotonic() + 1
    groups = [machine._process.pid, *([chromium_of(machine)] if program == "browser" else [])]
    with pytest.raises(StepError, match="did not end within 60 s; it ran add then") as caught:
        machine.call("add", [X, Parameter("weight")])
    assert "SLIPWAY_CHECK_SECONDS" in caught.value.hint
    with pytest.raises(StepError):
        machine.close()
    until = time.monotonic() + 20
    while any(map(alive, groups)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, groups))


@pytest.mark.parametrize(("word", "message"), [("--type=renderer", "the page crashed"), ("", "Chromium crashed")])
def test_a_page_or_a_browser_that_crashes_is_told(start, parameters, word, message):
    machine = start("browser", "hangs")
    machine.use_parameters(parameters)
    group = chromium_of(machine)

    def kill() -> None:
        for pid in map(int, alive(group)):
            with suppress(OSError):
                if word in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGSEGV if word else signal.SIGKILL)

    threading.Timer(0.5, kill).start()
    with pytest.raises(StepError, match=f"add failed: {message}.*try another version"):
        machine.call("add", [X, Parameter("weight")])


def test_a_driver_that_dawn_refuses_is_missing(start, monkeypatch):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/no/such/driver.json")
    with pytest.raises(ToolMissing, match="Dawn finds no GPU that it can use") as caught:
        start("node", "well", device="webgpu")
    assert "Mesa 24 or later" in caught.value.hint


def test_a_float16_model_is_not_for_a_gpu_in_software(start):
    with pytest.raises(Unsuited, match=r"the GPU swiftshader has no float16") as caught:
        start("browser", "enable f16;", device="webgpu")
    assert "float32" in caught.value.hint


def test_a_browser_that_does_not_start_is_missing(start, tmp_path):
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho 'error while loading shared libraries: libnss3.so' >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(ToolMissing, match="Chromium does not start"):
        start("browser", "well", chromium=str(broken))


@pytest.mark.parametrize(("version", "problem"), [(None, "there is no Chromium"), ("Chromium 98.0.1", "is too old")])
def test_a_browser_without_webgpu_is_missing(version, problem, tmp_path):
    tools = {} if version is None else {"chromium": Tool("chromium", tmp_path, version)}
    with pytest.raises(ToolMissing, match=problem) as caught:
        _in_chromium(SimpleNamespace(tools=tools, out=tmp_path), tmp_path)
    assert "apt-get install chromium" in caught.value.hint
