"""The tiny model's kernels for phones, run for real on this machine's OpenCL, with the real `doit`.

TVM_TEST_CHECKOUT names a checkout of TVM; without it, or without a driver, the tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from projects import Project, tiny_project

from pipeline.tools.finder import Finder

CHECKOUT = os.environ.get("TVM_TEST_CHECKOUT", "")

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOUT, reason="TVM_TEST_CHECKOUT names no checkout of TVM"),
    pytest.mark.skipif(Finder(Path("none")).find("opencl") is None, reason="there is no OpenCL driver"),
]
PRESETS = {"generic": "android", "mali": "android:mali", "adreno": "android:adreno"}


def phones(root: Path, *names: str) -> Project:
    project = tiny_project(root)
    lines = "\n".join(f'  {name}: {{preset: "{PRESETS[name]}"}}' for name in names)
    project.edit("targets.yaml", '  ios-arm64: {preset: iphone, deployment_target: "14.0"}', lines)
    project.edit("targets.yaml", "backend: [host, ios-arm64]", f"backend: [{', '.join(names)}]")
    project.edit("targets.yaml", "  kit: {kind: xcframework, backends: [ios-arm64]}", "  {}")
    project.env["TVM_SOURCE_DIR"] = CHECKOUT
    return project


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Project:
    project = phones(tmp_path_factory.mktemp("twins") / "project", *PRESETS)
    project.output = project.ok("--strict", timeout=1200).output
    return project


@pytest.mark.parametrize("name", PRESETS)
def test_the_kernels_that_ship_give_the_right_numbers(ran, name):
    said = json.loads(ran.path(f"build/check/tiny-f32@{name}/run.json").read_text())
    assert (said["runner"], said["control"]) == ("twin", "weights")
    assert said["emulated"].startswith("opencl, ")
    assert said["compared"][0]["max_abs_error"] <= 1e-5
    assert f"tiny-f32@{name}" in ran.output
    assert "run: twin (kernels alone), max error " in ran.output
    (ships,) = ran.path(f"build/compile/tiny-f32@{name}").glob("*devc.o")
    (twin,) = ran.path(f"build/twin/tiny-f32@{name}").glob("*devc.o")
    assert machine_of(ships) != machine_of(twin)


def machine_of(path: Path) -> bytes:
    return path.read_bytes()[18:20]


def test_nothing_is_done_again(ran):
    assert ran.ok().idle


def test_wrong_numbers_fail(tmp_path):
    project = phones(tmp_path / "project", "generic")
    project.edit("recipe.py", "np.maximum(x @ w.T, 0), 1e-5", "np.maximum(x @ w.T, 0) + 0.5, 1e-5")
    run = project.doit(timeout=600)
    assert run.status == 1
    assert "1 of 1 comparison differs: forward: max abs error 5.0e-01" in run.output


def test_a_driver_without_float16_is_told_before_anything_runs(tmp_path):
    project = phones(tmp_path / "project", "generic")
    project.edit("targets.yaml", "dtype: float32", "dtype: float16")
    project.edit("recipe.py", 'len(w), dtype="float32")', 'len(w), dtype="float16")')
    project.edit("recipe.py", "np.maximum(x @ w.T, 0), 1e-5", "np.maximum(x @ w.T, 0), 1e-2")
    output = project.ok(timeout=600).output
    if "cl_khr_fp16" in subprocess.run(["clinfo"], capture_output=True, text=True, check=False).stdout:
        assert "run: twin (kernels alone), max error " in output
    else:
        assert "not run: install an OpenCL driver with cl_khr_fp16" in output
