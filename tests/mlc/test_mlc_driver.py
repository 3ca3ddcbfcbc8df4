"""The driver around the real mlc_llm's own command, tried on a stand-in package with the same names in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.compilers import mlc_driver

PRESETS = {
    "iphone:generic": {
        "target": {"kind": "metal", "max_threads_per_block": 256, "libs": ["iphoneos"], "host": {"mtriple": "fixed"}},
        "build": "iphone",
    },
    "android:generic": {"target": {"kind": "opencl", "host": {"mtriple": "fixed"}}, "build": "plain"},
    "android:adreno": {"target": {"kind": "opencl", "device": "adreno", "host": {"mtriple": "fixed"}}, "build": "plain"},
    "webgpu:generic": {"target": {"kind": "webgpu", "host": {"mtriple": "fixed"}}, "build": "wasm"},
}


def settings(**changes):
    base = {"target": {"kind": "metal"}, "host": "arm64-apple-ios15.0", "kernels": "source", "metal_sdk": "iphoneos"}
    return base | changes


def test_a_preset_gets_the_host_of_the_cell_and_keeps_its_own_fields():
    made = mlc_driver.preset(PRESETS, "iphone:generic", settings())
    assert made["target"] == {
        "kind": "metal", "max_threads_per_block": 256, "host": {"kind": "llvm", "mtriple": "arm64-apple-ios15.0"},
    }  # fmt: skip
    assert made["build"] == "plain", "kernels stay source: no compiler of Apple's is called"


def test_a_metallib_is_made_for_the_sdk_of_the_platform():
    made = mlc_driver.preset(PRESETS, "iphone:generic", settings(kernels="metallib", metal_sdk="iphonesimulator"))
    assert (made["build"], made["target"]["libs"]) == ("iphone", ["iphonesimulator"])


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
    mlc_driver.preset(PRESETS, "iphone:generic", settings(kernels="metallib"))
    assert json.dumps(PRESETS) == before


PACKAGE = {
    "mlc_llm/__init__.py": "",
    "mlc_llm/support/__init__.py": "",
    "mlc_llm/support/logging.py": "def enable_logging(): pass\n",
    "mlc_llm/support/auto_target.py": f"PRESET = {PRESETS!r}\n",
    "mlc_llm/cli/__init__.py": "",
    "mlc_llm/cli/compile.py": '''
import json, sys
from types import SimpleNamespace
from mlc_llm.support.auto_target import PRESET

def detect_system_lib_prefix(device, prefix, model, quantization):
    return ""

class Config:
    def from_dict(fields):
        return SimpleNamespace(asdict=lambda: {"hidden_size": fields["hidden_size"], "window": fields["window"]})

def compile(config, quantization, model_type, overrides, prefix):
    print(json.dumps({"prefix": prefix, "preset": PRESET["iphone:generic"], "argv": sys.argv}))

def main(words):
    named = lambda name: SimpleNamespace(name=name)
    model = SimpleNamespace(name="llama", config=Config)
    compile(config={"model_config": {"hidden_size": 8, "window": 1}, "window": 2}, quantization=named("q0f32"),
            model_type=model, overrides=SimpleNamespace(window=3, other=None),
            prefix=detect_system_lib_prefix(words[1], words[3], "llama", "q0f32"))
''',
}


def test_the_command_runs_with_the_prefix_and_reports_its_config(tmp_path: Path):
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    report = tmp_path / "report.json"
    told = json.dumps(settings(report=str(report), metal_simdgroup=True))
    words = ["compile", "--device", "iphone", "--system-lib-prefix", "mine_"]
    done = subprocess.run(
        [sys.executable, mlc_driver.__file__, told, *words],
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["prefix"] == "mine_"
    assert said["preset"]["target"]["host"]["mtriple"] == "arm64-apple-ios15.0"
    assert said["argv"] == ["mlc_llm", *words]
    assert json.loads(report.read_text()) == {
        "config": {"hidden_size": 8, "window": 3}, "model_type": "llama", "quantization": "q0f32",
    }  # fmt: skip
