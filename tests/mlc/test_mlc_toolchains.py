"""Toolchains in a build: made from requirements, pinned, missing, broken, and two of them side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from fake_wheels import compiler_wheel
from mlc_projects import FAKE, TARGETS, converted
from projects import DODO, Project, clone

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

MADE = (
    TARGETS.replace("mlc: {path: ../env}", "mlc: {requirements: [fake-compiler], find_links: [wheels]}")
    .replace("[ios, catalyst-arm64, catalyst-x86_64, adreno, web]\nproducts", "[ios, web]\nproducts")
    .split("products:")[0]
)

IOS, WEB = "compile:small-q0f32@ios+mlc", "compile:small-q0f32@web+mlc"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> Project:
    """A project whose toolchain is made from a wheel, built; the index has nothing."""
    root = tmp_path_factory.mktemp("made") / "project"
    root.mkdir()
    compiler_wheel(root / "wheels", "1.0", FAKE.read_text())
    (root / "dodo.py").write_text(DODO)
    (root / "targets.yaml").write_text(MADE)
    converted(root / "weights")
    project = Project(root, {"PIP_NO_INDEX": "1", "UV_INDEX_URL": ""})
    project.ok()
    return project


@pytest.fixture
def made(made_once, tmp_path) -> Project:
    """A copy to spoil. Its environment names the directory it was made in, and is made again where it is needed."""
    root = tmp_path / "project"
    shutil.copytree(made_once.root, root, symlinks=True, ignore=shutil.ignore_patterns("toolchains"))
    return Project(root, dict(made_once.env))


def test_what_it_was_made_of_is_pinned_and_probed(made_once):
    lock = made_once.json("slipway.lock")
    assert lock["toolchains"]["mlc"]["spec"]["requirements"] == ["fake-compiler"]
    (frozen,) = lock["toolchains"]["mlc"]["frozen"].values()
    assert frozen == ["fake-compiler==1.0"]
    assert made_once.path("build/toolchain/mlc/freeze.txt").read_text() == "fake-compiler==1.0\n"
    probe = made_once.json("build/toolchain/mlc/probe.json")
    assert probe["tvm"] == probe["tvm_library"]
    assert probe["mlc"]["kind"] == "program"
    assert made_once.ok().idle


def test_an_environment_that_is_gone_is_missed_only_when_it_is_needed(made):
    assert made.ok().idle
    assert not made.path("build/toolchains").exists()
    made.edit("targets.yaml", 'iphone, deployment_target: "15.0"', 'iphone, deployment_target: "16.0"')
    run = made.ok()
    assert "toolchain mlc: making its environment" in run.output
    assert IOS in run.built
    assert not {WEB, "toolchain:mlc"} & set(run.worked)


def test_another_machine_gets_the_same(made, tmp_path):
    compiler_wheel(made.path("wheels"), "1.1", FAKE.read_text())
    other = clone(made, tmp_path / "other")
    other.ok("toolchain:mlc")
    assert other.path("build/toolchain/mlc/freeze.txt").read_text() == "fake-compiler==1.0\n"


def test_a_new_version_recompiles_its_cells_and_nothing_else(made):
    compiler_wheel(made.path("wheels"), "1.1", FAKE.read_text())
    lock = made.json("slipway.lock")
    del lock["toolchains"]
    made.write("slipway.lock", json.dumps(lock))
    run = made.ok()
    assert {name for name in run.built if not name.startswith("verify:")} == {"toolchain:mlc", IOS, WEB}
    assert made.path("build/toolchain/mlc/freeze.txt").read_text() == "fake-compiler==1.1\n"
    assert made.ok().idle


def test_a_requirement_that_cannot_be_had(made):
    made.edit("targets.yaml", "requirements: [fake-compiler]", "requirements: [fake-compiler, not-there]")
    run = made.doit()
    assert run.status != 0
    assert "not-there" in run.output
    assert "Traceback" not in run.output
    assert "check its requirements" in run.output


def test_two_toolchains_serve_one_matrix(made):
    shutil.copytree(made.path("weights"), made.path("weights2"))
    compiler_wheel(made.path("wheels"), "2.0", FAKE.read_text())
    made.edit(
        "targets.yaml",
        "toolchains:\n",
        "toolchains:\n  new: {requirements: [fake-compiler==2.0], find_links: [wheels]}\n",
    )
    made.edit(
        "targets.yaml",
        "  backend: [ios, web]\n",
        "  toolchain: [mlc]\n  backend: [ios, web]\n  include:\n    - {model: other, backend: ios, toolchain: new}\n",
    )
    made.edit(
        "targets.yaml",
        "backends:\n",
        "  other:\n    compiler: mlc\n    weights: {path: weights2}\n    variants: {q0f32: {opt: O0}}\nbackends:\n",
    )
    run = made.ok()
    assert {"toolchain:new", "compile:other-q0f32@ios+new"} <= run.built
    assert not {IOS, WEB, "toolchain:mlc"} & set(run.worked)
    assert sorted(path.name.rpartition("-")[0] for path in made.path("build/toolchains").glob("*-*[!k]")) == [
        "mlc",
        "new",
    ]


def test_a_toolchain_without_mlc_says_what_to_do(made):
    made.edit("targets.yaml", "mlc: {requirements: [fake-compiler], find_links: [wheels]}", "mlc: {path: plain}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.path("plain")], check=True)
    run = made.doit("toolchain:mlc")
    assert run.status != 0
    assert "cannot import tvm" in run.output or "there is no mlc_llm for toolchain mlc" in run.output


def test_a_tvm_of_two_versions_is_refused(made):
    wrong = "import tvm; tvm.__version__ = '0.1.0'\n"
    compiler_wheel(made.path("wheels"), "3.0", FAKE.read_text())
    made.edit("targets.yaml", "requirements: [fake-compiler]", "requirements: [fake-compiler==3.0]")
    made.ok("toolchain:mlc")
    (packages,) = made.path("build/toolchains").glob("mlc-*/lib/python*/site-packages")
    found = [path for path in packages.parents if path.name.startswith("mlc-")]
    assert found
    (packages / "wrong.pth").write_text(wrong)  # read last; a `sitecustomize` of the system's would hide ours
    made.ok("forget", "toolchain:mlc")
    run = made.doit("toolchain:mlc")
    assert run.status != 0
    assert "TVM's Python is 0.1.0 and its library" in run.output


def test_doctor_says_what_there_is_and_what_is_missing(made):
    report = json.loads(made.ok("doctor", "--json").output)
    assert report["toolchains"]["mlc"]["mlc"]["kind"] == "program"
    assert report["needed"] == []
    assert report["tools"]["cmake"]["cost"] == "runtimes are not built"
    text = made.ok("doctor", env={"PATH": str(made.root)}).output
    assert "missing: links of Apple archives are not proven" in text
    made.edit("targets.yaml", "web: {preset: webgpu}", "web: {preset: vulkan}")
    broken = made.doit("doctor")
    assert broken.status == 1
    assert "toolchain mlc has no code generator for vulkan, which web needs" in broken.output


def test_doctor_makes_no_environment(made):
    made.edit("targets.yaml", "find_links: [wheels]", "find_links: [wheels], pre: true")
    run = made.ok("doctor")
    assert "toolchain mlc: not made yet; doit toolchain:mlc makes it" in run.output
    assert not made.path("build/toolchains").exists()


def test_doctor_needs_no_project(tmp_path):
    run = Project(tmp_path).ok("doctor")
    assert "toolchain current" in run.output
    assert "there is no targets.yaml here, so nothing is known to be needed: doit init makes one" in run.output
