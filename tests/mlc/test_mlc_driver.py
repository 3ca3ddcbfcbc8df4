"""The driver around the real mlc_llm's own command, tried on a fake package with the same names in it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from pipeline.compilers import mlc_driver
from pipeline.compilers.lowered import Reported
from pipeline.compilers.mlc_driver import Settings
from pipeline.worker.worker import ToolchainWorker

PRESETS = {
    "iphone:generic": {
        "target": {"kind": "metal", "max_threads_per_block": 256, "libs": ["iphoneos"], "host": {"mtriple": "fixed"}},
        "build": "iphone",
    },
    "android:generic": {"target": {"kind": "opencl", "host": {"mtriple": "fixed"}}, "build": "plain"},
    "android:adreno": {
        "target": {"kind": "opencl", "device": "adreno", "host": {"mtriple": "fixed"}},
        "build": "plain",
    },
    "webgpu:generic": {"target": {"kind": "webgpu", "host": {"mtriple": "fixed"}}, "build": "wasm"},
}


def settings(**changes):
    usual = Settings({"kind": "metal"}, "arm64-apple-ios15.0", metal_simdgroup=True)
    return replace(usual, **changes)


def test_a_preset_gets_the_host_of_the_cell_and_keeps_its_own_fields():
    made = mlc_driver.preset(PRESETS, "iphone:generic", settings())
    assert made["target"] == {
        "kind": "metal", "max_threads_per_block": 256, "host": {"kind": "llvm", "mtriple": "arm64-apple-ios15.0"},
    }  # fmt: skip
    assert made["build"] == "plain", "mlc_llm calls no compiler of Apple's"


@pytest.mark.parametrize("key", ["android:adreno", "webgpu:generic", "vulkan:generic"])
def test_every_device_ends_as_objects(key):
    kind = PRESETS.get(key, {"target": {"kind": "vulkan"}})["target"]["kind"]
    made = mlc_driver.preset(PRESETS, key, settings(target={"kind": kind, "max_num_threads": 64}, host="a-b-c"))
    assert made["build"] == "plain"
    assert made["target"]["max_num_threads"] == 64
    assert made["target"]["host"]["mtriple"] == "a-b-c"


def test_a_cpu_is_its_own_host():
    made = mlc_driver.preset(PRESETS, "llvm", settings(target={"kind": "llvm"}, host="x86_64-linux-gnu"))
    assert made["target"] == {"kind": "llvm", "mtriple": "x86_64-linux-gnu"}


def test_presets_are_not_changed_for_others():
    before = json.dumps(PRESETS)
    mlc_driver.preset(PRESETS, "iphone:generic", settings())
    assert json.dumps(PRESETS) == before


PACKAGE = {
    "mlc_llm/__init__.py": "",
    "mlc_llm/support/__init__.py": "",
    "mlc_llm/support/logging.py": "def enable_logging(): pass\n",
    "mlc_llm/support/auto_target.py": f"PRESET = {PRESETS!r}\n",
    "mlc_llm/cli/__init__.py": "",
    "mlc_llm/cli/compile.py": """
import json, os, sys
from types import SimpleNamespace
from mlc_llm.support.auto_target import PRESET

def detect_system_lib_prefix(device, prefix, model, quantization):
    return ""

class Config:
    def from_dict(fields):
        return SimpleNamespace(asdict=lambda: {key: fields[key] for key in ("hidden_size", "window", "model_type")})

def compile(config, quantization, model_type, overrides, prefix):
    print(json.dumps({"prefix": prefix, "target": PRESET["iphone:generic"]["target"], "argv": sys.argv,
                      "own": os.environ["OWN"]}))

def main(words):
    named = lambda name: SimpleNamespace(name=name)
    model = SimpleNamespace(name="llama", config=Config)
    config = {"hidden_size": 8, "window": 1, "model_type": "own"}
    compile(config={"model_type": "top", "model_config": config, "window": 2}, quantization=named("q0f32"),
            model_type=model, overrides=SimpleNamespace(window=3, other=None),
            prefix=detect_system_lib_prefix(words[1], words[3], "llama", "q0f32"))
""",
}


EFFECTIVE = Reported({"hidden_size": 8, "window": 3, "model_type": "own"}, "llama", "q0f32")


def test_the_command_runs_with_the_prefix_and_reports_its_config(tmp_path):
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words, log = ["compile", "--device", "iphone", "--system-lib-prefix", "mine_"], tmp_path / "log"
    work = partial(mlc_driver.run, words=words, settings=settings(), folder=tmp_path, variables={"OWN": "1"})
    worker = ToolchainWorker(path=[tmp_path])
    try:
        assert worker.call(work, log=log) == EFFECTIVE
    finally:
        worker.close()
    command, said = log.read_text().splitlines()
    assert command == "mlc_llm compile --device iphone --system-lib-prefix mine_"
    told = json.loads(said)
    assert told["prefix"] == "mine_"
    assert told["target"]["host"]["mtriple"] == "arm64-apple-ios15.0"
    assert told["argv"] == ["mlc_llm", *words]
    assert told["own"] == "1"
