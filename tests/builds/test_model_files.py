"""GGUF and LiteRT models with the real doit: fetched, pinned, checked, bundled and listed; a custom step takes one."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_web import FakeServer
from projects import Project

sys.path.append(str(Path(__file__).parents[1] / "binary"))
from model_files import gguf_file, task_bytes, tflite_bytes

MODELS = """
  gemma-gguf:
    gguf: {url: "%(url)s/gemma.gguf"}
  GE3N-2B:
    litert: {path: files/gemma.task, sha256: %(sha256)s}
  detector:
    litert: {path: files/detector.tflite}
"""
STEPS = """
steps:
  seal:
    command: [sh, -c, 'cat "$0"/*.gguf > "$1"', "{in.bundle}", "{out}/{model}.amg"]
    for: model
    models: [gemma*]
    inputs: {bundle: "bundle:{subject}"}
    outputs: ["{model}.amg"]
    ship: true
"""


@pytest.fixture
def web() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def models(project: Project, web: FakeServer, tmp_path: Path) -> Project:
    web.files["/gemma.gguf"] = gguf_file(tmp_path / "m.gguf").read_bytes()
    (project.root / "files").mkdir()
    project.path("files/gemma.task").write_bytes(task_bytes())
    project.path("files/detector.tflite").write_bytes(tflite_bytes())
    sha256 = hashlib.sha256(task_bytes()).hexdigest()
    written = MODELS % {"url": web.url, "sha256": sha256}
    project.edit("targets.yaml", "\nbackends:\n", f"{written}backends:\n")
    project.write("targets.yaml", project.path("targets.yaml").read_text() + STEPS)
    return project


BUNDLES = ("product:bundle/gemma-gguf", "product:bundle/GE3N-2B", "product:bundle/detector")


def test_models_for_other_runtimes_are_bundled_with_what_they_are(models: Project) -> None:
    run = models.ok(*BUNDLES, "product:seal/gemma-gguf")
    assert "gemma-gguf: its weights are now pinned in slipway.lock" in run.output
    gemma = models.json("dist/bundle/gemma-gguf/model.json")
    assert gemma["runtime"] == "llama.cpp"
    assert gemma["gguf"] == {
        "version": 3, "architecture": "gemma3n", "parameters": 263, "quantization": "Q8_0", "name": "tiny",
        "context_length": 32768,
    }  # fmt: skip
    assert gemma["sha256"] == hashlib.sha256(models.path("dist/bundle/gemma-gguf/gemma.gguf").read_bytes()).hexdigest()
    task = models.json("dist/bundle/GE3N-2B/model.json")
    assert (task["runtime"], task["format"], task["file"]) == ("LiteRT", "task", "gemma.task")
    assert task["litert"]["parts"] == ["TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL"]
    assert models.json("dist/bundle/detector/model.json")["litert"]["minimum_runtime"] == "1.5.0"
    sealed = models.path("dist/seal/gemma-gguf/gemma-gguf.amg").read_bytes()
    assert sealed == models.path("dist/bundle/gemma-gguf/gemma.gguf").read_bytes()
    assert models.json("slipway.lock")["weights"]["gemma-gguf"]["files"]["gemma.gguf"]["size"] == gemma["size"]
    assert models.ok(*BUNDLES).idle


def test_what_is_cut_changed_or_wrong_is_refused_and_nothing_is_lost(models: Project, web: FakeServer) -> None:
    models.ok(*BUNDLES)
    before = models.products()
    models.path("files/detector.tflite").write_bytes(tflite_bytes()[:-40])
    models.path("files/gemma.task").write_bytes(task_bytes(names=("a", "b")))
    web.files["/gemma.gguf"] = web.files["/gemma.gguf"][:-100]
    lock = models.json("slipway.lock")
    del lock["weights"]["gemma-gguf"]
    models.write("slipway.lock", json.dumps(lock))
    shutil.rmtree(models.root.parent / "cache")
    run = models.doit("-c", *BUNDLES)
    assert "detector.tflite: " in run.output
    assert "goes beyond the end" in run.output
    assert "gemma.task is not the file that targets.yaml pins: its sha256 is" in run.output
    assert "gemma.gguf: it is cut: the tensor 'weight' ends at byte" in run.output
    assert "Traceback" not in run.output
    assert models.products() == before
