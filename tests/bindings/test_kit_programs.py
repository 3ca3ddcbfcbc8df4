"""The recipes' checks, with their negative controls, run in programs that contain the models statically.

The programs (`programs/`) are built from a kit as a user builds one: C++ by CMake, Rust by Cargo without a registry.
They answer what a runner asks.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from projects import DODO, Project

from pipeline.compilers.declared import Declared
from pipeline.documents.link_json import read_link_json
from pipeline.files import sha256_path
from pipeline.matrix.cells import ModelRef
from pipeline.runners.machine import Launch
from pipeline.runners.trial import Outcome, Trial, run_checks

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).with_name("programs")
CHECKS = {"scorer-f32": "recipes/scorer.py", "decoder-q4f16_1": "recipes/decoder.py"}

pytestmark = pytest.mark.slow

TARGETS = """
version: 1
name: models
models:
  scorer: {factory: recipes/scorer.py:build, variants: {f32: {dtype: float32}}}
  decoder: {factory: recipes/decoder.py:build, variants: {q4f16_1: {quantization: q4f16_1}}}
backends: {host: {preset: host}}
matrix: {model: [scorer, decoder], backend: [host]}
products: {native: {kind: native, backends: [host]}}
"""

MANIFEST = """
[package]
name = "program"
version = "0.0.1"
edition = "2021"

[[bin]]
name = "program"
path = "main.rs"

[dependencies]
kit = {{ package = "slipway-native", path = "{kit}/rust" }}

[workspace]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    made = Project(tmp_path_factory.mktemp("native") / "project")
    made.write("targets.yaml", TARGETS)
    made.write("dodo.py", DODO)
    made.write("recipes/scorer.py", (ROOT / "pipeline/starter/recipes/scorer.py").read_text())
    made.write("recipes/decoder.py", (ROOT / "recipes/decoder.py").read_text())
    made.write("recipes/reference/decoder.json", (ROOT / "recipes/reference/decoder.json").read_text())
    made.ok(timeout=900)
    return made


def ran(*words: str | Path, cwd: Path, **variables: str) -> None:
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=["cpp", "rust"])
def program(request, project, runtime, tmp_path_factory) -> Launch:
    """The program in one language, without its argument."""
    folder, kit = tmp_path_factory.mktemp(request.param), project.path("dist/native")
    for source in PROGRAMS.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    if request.param == "cpp":
        names = ("-DPRODUCT=native", "-DPRODUCT_IDENTIFIER=native", f"-DKIT={kit}")
        ran("cmake", "-S", ".", "-B", "build", *names, f"-DRUNTIME={';'.join(map(str, runtime.values()))}", cwd=folder)
        ran("cmake", "--build", "build", cwd=folder)
        return Launch(command=(str(folder / "build/program"),))
    (folder / "Cargo.toml").write_text(MANIFEST.format(kit=kit))
    library = str(runtime["tvm_runtime"])
    ran("cargo", "build", "--offline", "--release", cwd=folder, NATIVE_TVM_RUNTIME_LIB=library)
    found = os.pathsep.join(str(path.parent) for path in runtime.values())
    return Launch(command=(str(folder / "target/release/program"),), env={"LD_LIBRARY_PATH": found})


def outcome(project: Project, program: Launch, subject: str, parameters: str | None = None) -> Outcome:
    """Run the recipe's check of a model in a process of its own, as a worker does."""
    model = read_link_json(project.path("dist/native")).models[subject]
    bundle, recipe = project.path(parameters or f"dist/bundle/{subject}"), project.path(CHECKS[subject])
    beside = {str(path): sha256_path(path) for path in recipe.parent.glob("*.py")}
    trial = Trial(
        model=ModelRef(model.model, model.variant, model.prefix, model.options),
        functions=model.functions,
        parameters=bundle,
        weights=None,
        reads=Declared(str(recipe), beside, (str(recipe.parent / "reference"), str(bundle))),
        check="check",
        seconds=300,
    )
    launch = Launch(command=(*program.command, model.prefix), env=program.env)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run_checks, launch=launch, trial=trial).result(timeout=600)


@pytest.mark.parametrize("subject", CHECKS)
def test_the_check_passes_and_its_control_fails(project, program, subject):
    found = outcome(project, program, subject)
    assert found.compared
    assert all(one.passed for one in found.compared)
    assert found.control == "weights"
    assert found.emulated is None


def test_parameters_of_another_model_are_refused(project, program):
    with pytest.raises(Exception, match=r"has no parameter hidden\.weight: it is the bundle of another model"):
        outcome(project, program, "scorer-f32", "dist/bundle/decoder-q4f16_1")
