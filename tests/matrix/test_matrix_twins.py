"""Which cells get a twin: kernels of another machine's models that this one can run."""

from __future__ import annotations

import pytest

from pipeline.matrix.expand import expand
from pipeline.matrix.loader import read
from pipeline.plan import plan

TEXT = """\
version: 1
models:
  one: {factory: recipe.py:build, check: recipe.py:check, variants: {f32: {}}}
  quiet: {factory: recipe.py:build, variants: {f32: {}}}
backends:
  ios: {preset: iphone}
  compiled: {preset: iphone-simulator, kernels: metallib}
  phone: {preset: android}
  adreno: {preset: "android:adreno"}
matrix: {model: [one, quiet], backend: [ios, compiled, phone, adreno]}
"""
LINUX, MAC = "Linux x86_64", "Darwin arm64"


@pytest.fixture
def planned(project, monkeypatch):
    monkeypatch.delenv("TVM_SOURCE_DIR", raising=False)

    def run(machine, text=TEXT):
        path = project / "targets.yaml"
        path.write_text(text)
        matrix = expand(*read(path), path, machine)
        return {action.name: action for action in plan(matrix, {})}

    return run


def twins(actions):
    return {name for name in actions if name.startswith(("twin:", "check:"))}


def test_without_a_checkout_there_is_none_and_the_table_says_how_there_would_be(planned):
    actions = planned(LINUX)
    assert twins(actions) == set()
    said = actions["verify:phone"].params.artifact
    assert said == "no android arm64 here; kernels alone: let TVM_SOURCE_DIR name a checkout of TVM"
    assert actions["verify:ios"].params.artifact is None


@pytest.mark.parametrize("inside", ["", "3rdparty/tvm"])
def test_with_a_checkout_opencl_gets_twins_with_host_code_of_this_machine(planned, project, monkeypatch, inside):
    checkout = project / "checkout"
    checkout.joinpath(inside).mkdir(parents=True)
    monkeypatch.setenv("TVM_SOURCE_DIR", str(checkout))
    actions = planned(LINUX)
    assert twins(actions) == {f"{step}:one-f32@{where}" for step in ("twin", "check") for where in ("phone", "adreno")}
    twin, ships = actions["twin:one-f32@phone"], actions["compile:one-f32@phone"]
    assert (twin.params.host, ships.params.host) == ("x86_64-linux-gnu", None)
    assert (twin.params.backend, twin.upstream, twin.run) == (ships.params.backend, ships.upstream, ships.run)
    check = actions["check:one-f32@phone"]
    assert check.upstream["objects:one-f32"].action == twin.name
    assert check.upstream["archive"].action == "archive:phone"
    assert set(check.tools) == {"c++", "opencl", "checkout:twins"}
    assert actions["verify:phone"].params.artifact is None


def test_the_checkout_of_the_runtime_will_do(planned, project):
    (project / "tvm").mkdir()
    assert "twin:one-f32@phone" in planned(LINUX, f"{TEXT}runtime: {{source: tvm}}\n")


def test_on_a_mac_metal_gets_twins_where_its_kernels_are_source(planned, monkeypatch):
    monkeypatch.setenv("TVM_SOURCE_DIR", "/nowhere")
    actions = planned(MAC)
    assert twins(actions) == {"twin:one-f32@ios", "check:one-f32@ios"}
    assert actions["twin:one-f32@ios"].params.host == "arm64-apple-macosx11.0"


def test_a_machine_that_is_not_known_has_none(planned):
    assert twins(planned("Plan9 mips")) == set()
