"""`doit bench` on a stand-in for a device: models run in a program built from the kit, which that starts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from phones import SERIAL, Phone
from projects import Project, tiny_project

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the program is for this machine"),
    *(pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name}") for name in ("cmake", "c++")),
]
CELL = "tiny-f32@host"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Project:
    """The tiny project with a native product for this machine, which stands for a Linux board that speaks adb."""
    project = tiny_project(tmp_path_factory.mktemp("bench") / "project")
    project.edit("targets.yaml", "backend: [host, ios-arm64]", "backend: [host]")
    product = "{kind: native, backends: [host], programs: []}\nruntime: {wheel: true}"
    project.edit("targets.yaml", "{kind: xcframework, backends: [ios-arm64]}", product)
    project.ok(timeout=900)
    return project


def left(phone: Phone) -> list[Path]:
    return list((phone.home / SERIAL / "data/local/tmp").glob("*"))


def test_numbers_are_compared_and_times_and_memory_measured(built, phone):
    run = built.ok("bench")
    assert f"{CELL}  forward" in run.output
    document = json.loads(built.ok("bench", "--json", "--model", "tiny").output)
    (one,) = document["runs"]
    assert (document["device"], one["model"], one["runner"]) == (SERIAL, "tiny-f32", "adb")
    assert one["max_error"] <= 1e-5
    assert one["milliseconds"]["forward"]["calls"] == 20
    assert one["milliseconds"]["forward"]["first"] > 0
    assert one["peak_bytes"] > 1 << 20
    assert 0 < one["load_seconds"] < 60
    kept = built.json(f"build/bench/{SERIAL}/{CELL}.json")
    assert kept["control"] == "weights"
    assert left(phone) == []
    assert built.ok().idle


def test_a_model_that_is_wrong_on_the_device(built, phone):
    phone.set(garbles="params_shard")
    run = built.doit("bench")
    assert run.status == 1
    assert f"{CELL}: WRONG: 1 of 1 comparison differs" in run.output
    assert left(phone) == []


def test_a_device_that_is_pulled_is_no_fault_of_the_model(built, phone):
    phone.set(pulled_at=4)  # program and runtime are there, the parameters are on their way
    run = built.doit("bench")
    assert run.status == 3
    assert "no device 'emulator-5554' is attached" in run.output
    assert "WRONG" not in run.output
    assert "Traceback" not in run.output


def test_a_device_of_another_kind_gets_what_is_said_to_fit(built, phone):
    phone.set(abis="arm64-v8a,armeabi-v7a")
    run = built.doit("bench")
    assert run.status == 3
    assert f"nothing of targets.yaml can be run on {SERIAL} (arm64-v8a, armeabi-v7a)" in run.output
    assert f"--model {CELL}" in run.output
    assert f"{CELL}  forward" in built.ok("bench", "--model", CELL).output
    run = built.doit("bench", "--model", "other")
    assert run.status == 3
    assert "`runtime` in targets.yaml" in run.output


def test_what_is_stale_is_built_first(built, phone, tmp_path):
    shutil.copytree(built.root, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project")
    shard = next(project.path("weights").glob("*.txt"))
    shard.write_text(f"{shard.read_text()}\n")
    run = project.doit("bench")
    assert run.status == 3
    assert "is stale" in run.output
    assert "hint: build it first: doit " in run.output


def test_without_a_compiler_it_is_not_run_and_what_to_install_is_said(built, phone, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for one in Path(place).iterdir() if Path(place).is_dir() else ():
            if one.name != "cmake":
                (tools / one.name).unlink(missing_ok=True)
                (tools / one.name).symlink_to(one)
    run = built.doit("bench", env={"PATH": str(tools)})
    assert run.status == 3
    assert f"{CELL}: not run: there is no CMake" in run.output
    assert "hint: install CMake" in run.output
