"""`doit devices`: what each device gets, before and after a build, and that nothing too large is published."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from projects import DODO, Project

AVA = Path(__file__).parents[1] / "ava_devices.yaml"

DEVICES = """\
devices:
  phone: {gpu: apple, ram: 1GB, os: ios, models: [tiny]}
  watch: {gpu: apple, ram: 1MB, os: ios, usable: %s}
"""


@pytest.fixture
def ava(tmp_path) -> Project:
    project = Project(tmp_path / "ava")
    project.write("dodo.py", DODO)
    project.write("targets.yaml", AVA.read_text())
    project.write("library.tar", "")
    project.write("gemma.task", "")
    return project


def row(output: str, *words: str) -> str:
    (line,) = [one for one in output.splitlines() if all(word in one.split() for word in words)]
    return re.sub(r" {2,}", " | ", line)


def test_the_tables_of_the_manual(ava):
    shown = ava.ok("devices").output
    assert row(shown, "hmt-1") == "hmt-1 | 1.50 GB | AVA-LL32-1B16-q4 | vulkan | 1.37 GB | 0.13 GB"
    assert row(shown, "rokid-x-craft", "AVA-QW3-17B16-q4").endswith("| mali | 0.90 GB | 1.10 GB")
    assert row(shown, "vuzix-z100", "AVA-GE3N-4B").endswith("| LiteRT | 3.00 GB | 0.00 GB")
    assert row(shown, "iphone-15-pro", "AVA-QW3-4B16-q4").endswith("| ios | 2.50 GB | 1.50 GB")
    document = json.loads(ava.ok("devices", "--json").output)["devices"]
    assert len(document) == 11
    assert all(model["fits"] for device in document for model in device["models"])
    assert document[0]["models"] == [
        {
            "name": "AVA-LL32-1B16", "variant": "AVA-LL32-1B16-q4", "backend": "vulkan", "fits": True,
            "margin": 130_000_000, "says": "as targets.yaml declares",
            "takes": {"bytes": 1_370_000_000, "source": "declared", "at_least": False},
        }
    ]  # fmt: skip


def test_a_device_that_gets_nothing(ava):
    ava.edit(
        "targets.yaml", "ram: 3GB, os: android, backends: [vulkan], models: [AVA-LL32-1B16]", "ram: 1GB, os: android"
    )
    run = ava.doit("devices")
    assert run.status == 1
    assert row(run.output, "hmt-1", "AVA-QW3-17B16-q4").endswith("| does not fit: 0.40 GB too much")
    assert json.loads(ava.doit("devices", "--json").output)["devices"][0]["gets_one"] is False


def test_a_pair_that_cannot_be_is_refused_before_anything_runs(ava):
    ava.edit("targets.yaml", "ram: 12GB", "ram: 5GB")
    run = ava.doit()
    assert run.status == 3
    assert "iphone-16-pro cannot hold AVA-GE3N-4B on LiteRT: it takes 3.00 GB" in run.output
    assert "Traceback" not in run.output


def test_a_file_without_devices(project):
    run = project.doit("devices")
    assert run.status == 3
    assert "there are no devices" in run.output


@pytest.mark.tvm
def test_what_was_built_says_what_it_takes(project):
    project.write("targets.yaml", project.path("targets.yaml").read_text() + DEVICES % 0.9)
    before = project.ok("devices").output
    assert row(before, "phone").endswith("| ios-arm64 | not built yet (doit memory:tiny-f32@ios-arm64)")
    project.ok("device")
    taken = project.json("build/memory/tiny-f32@ios-arm64/memory.json")
    assert taken["parameters"] > taken["temporary"] > 0
    assert taken["cache"] > 0
    (phone, watch) = json.loads(project.ok("devices", "--json").output)["devices"]
    sizes = [taken[name] for name in ("parameters", "temporary", "cache")]
    assert phone["models"][0]["takes"] == {"bytes": sum(sizes), "source": "built", "at_least": False}
    assert watch["models"][0]["margin"] == 900_000 - sum(sizes)


@pytest.mark.tvm
def test_no_product_has_a_model_that_its_device_cannot_hold(project):
    device = "devices:\n  watch: {gpu: apple, ram: 1MB, os: ios, usable: %s, models: [tiny-f32]}\n"
    text = project.path("targets.yaml").read_text()
    project.write("targets.yaml", text + device % 0.001)
    run = project.doit()
    assert run.status != 0
    assert "watch cannot hold tiny-f32 on ios-arm64: it takes 0.0" in run.output
    assert "MB (parameters, temporaries and cache), and an app can use 0.00 MB of its 1.00 MB" in run.output
    assert not project.path("dist/kit").exists()
    project.write("targets.yaml", text + device % 0.5)
    run = project.ok()
    assert "compile:tiny-f32@ios-arm64" not in run.worked
    assert project.path("dist/kit/link.json").is_file()
    assert project.ok().idle
