"""A project whose kit is called from other languages, built once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from projects import DODO, Project

TARGETS = """
version: 1
name: models
models:
  first:
    factory: recipes/callable_models.py:build
    options: {scale: 2.0, static_text_len: 512, note: "say \\"hi\\""}
    variants: {f32: {}}
  second:
    factory: recipes/callable_models.py:build
    variants: {f32: {scale: 3.0}}
backends: {host: {preset: host}}
matrix: {model: [first, second], backend: [host]}
products:
  calls: {kind: native, backends: [host]}
"""


@pytest.fixture(scope="session")
def called(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, built; read-only."""
    project = Project(tmp_path_factory.mktemp("called") / "project")
    project.write("targets.yaml", TARGETS)
    project.write("dodo.py", DODO)
    project.write("recipes/callable_models.py", Path(__file__).with_name("callable_models.py").read_text())
    project.ok()
    return project


@pytest.fixture(scope="session")
def runtime() -> dict[str, Path]:
    """The shared runtime of the TVM that the tests run with: `tvm_runtime` and `tvm_ffi`."""
    said = "import tvm, tvm_ffi.libinfo as f; print(tvm.__file__); print(f.__file__)"
    places = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    tvm, ffi = (Path(place).parent for place in places)
    return {"tvm_runtime": tvm / "lib/libtvm_runtime.so", "tvm_ffi": ffi / "lib/libtvm_ffi.so"}
