"""A program for Android is configured with the NDK's toolchain file; without an NDK it is not run, and that is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.action import Job, Tool
from pipeline.errors import ToolMissing
from pipeline.matrix.expand import load
from pipeline.plan.checks import device_runs
from pipeline.runners.check import Params
from pipeline.runners.native import _compiler

TARGETS = """version: 1
models:
  tiny: {factory: "r.py:build", check: "r.py:check"}
  silent: {factory: "r.py:build"}
backends:
  phone: {preset: "android:cpu"}
  emulator: {preset: "android:cpu", arch: x86_64}
  host: {preset: host}
  ios: {preset: iphone}
matrix: {model: [tiny, silent], backend: [phone, emulator, host, ios]}
runtime:
  backends: [phone, ios]
  prebuilt: {phone: [a.a], ios: [a.a]}
products:
  app: {kind: android, backends: [phone]}
  bare: {kind: android, backends: [emulator]}
  native: {kind: native, backends: [host]}
  apple: {kind: native, backends: [ios]}
"""


@pytest.fixture
def runs(tmp_path) -> dict[str, tuple[Params, tuple[str, ...]]]:
    (tmp_path / "targets.yaml").write_text(TARGETS)
    (tmp_path / "r.py").write_text("def build(spec): ...\ndef check(session): ...\n")
    (tmp_path / "a.a").write_bytes(b"!<arch>\n")
    return {one.subject: (one.params, one.tools) for one in device_runs(load(tmp_path / "targets.yaml"))}


def test_what_has_a_check_and_a_runtime_can_be_run_on_a_device(runs):
    assert {subject: tools for subject, (_, tools) in runs.items()} == {
        "app/tiny-default@phone/adb": ("cmake", "ndk"),
        "native/tiny-default@host/adb": ("cmake", "c++"),
    }


def test_the_ndk_compiles_for_the_abi_of_the_backend(runs):
    params, _ = runs["app/tiny-default@phone/adb"]
    job = Job(params, {}, {"ndk": None}, Path("out"), Path("log"), None)
    with pytest.raises(ToolMissing, match="there is no Android NDK") as caught:
        _compiler(job)
    assert "ANDROID_NDK_HOME" in str(caught.value.hint)
    before, settings = _compiler(replace(job, tools={"ndk": Tool("ndk", Path("/ndk"), "27.2")}))
    assert before == ()
    assert settings["CMAKE_TOOLCHAIN_FILE"] == "/ndk/build/cmake/android.toolchain.cmake"
    assert (settings["ANDROID_ABI"], settings["ANDROID_STL"]) == ("arm64-v8a", "c++_static")
