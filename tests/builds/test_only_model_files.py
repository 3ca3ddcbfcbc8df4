"""A project of GGUF and LiteRT files alone, with the real doit: no backends, no matrix, and a layout that has them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from projects import DODO, Project

sys.path.append(str(Path(__file__).parents[1] / "binary"))
from model_files import gguf_file, task_bytes

TARGETS = """\
version: 1
models:
  gemma: {gguf: {path: files/hub-name.gguf}, estimated_vram_bytes: 2000000000}
  gemma-task: {litert: {path: files/gemma.task}, estimated_vram_bytes: 2000000000}
products:
  tree:
    kind: layout
    files:
      "bundle:gemma": {file: "llama/{model}/{model}.amg"}
      "bundle:gemma-*": {directory: "litert/{model}"}
      "seal:*": {directory: sealed}
steps:
  seal:
    command: [sh, -c, '(cat "$0"/*.[gt][ga][us]*; echo sealed) > "$1"', "{in.bundle}", "{out}/{model}.sealed"]
    for: model
    inputs: {bundle: "bundle:{subject}"}
    outputs: ["{model}.sealed"]
devices:
  phone: {gpu: mali, ram: 4GB, os: android, models: [gemma]}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Project:
    root = tmp_path_factory.mktemp("files") / "project"
    (root / "files").mkdir(parents=True)
    gguf_file(root / "files/hub-name.gguf")
    (root / "files/gemma.task").write_bytes(task_bytes())
    (root / "targets.yaml").write_text(TARGETS)
    (root / "dodo.py").write_text(DODO)
    project = Project(root)
    project.ok()
    return project


def test_nothing_but_the_files_is_needed_and_the_second_run_has_nothing_to_do(files: Project):
    tasks = {name.partition(":")[0] for name in files.ok("list", "--all", "-q").output.split() if ":" in name}
    assert tasks == {"weights", "bundle", "seal", "layout", "verify", "product", "manifest", "device"}
    assert files.ok().idle
    (device,) = files.json("dist/manifest.json")["devices"]
    assert {(one["model"], one["backend"], one["bytes"]) for one in device["takes"]} == {
        ("gemma", "llama.cpp", 2_000_000_000), ("gemma-task", "LiteRT", 2_000_000_000),
    }  # fmt: skip
    assert "2.00 GB  0.00 GB" in files.ok("devices").output
    assert files.ok("cells").output == ""


def test_the_layout_has_them_where_it_says_under_the_names_it_says(files: Project):
    tree = files.path("dist/tree")
    assert {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()} == {
        "llama/gemma/gemma.amg", "litert/gemma-task/gemma.task", "litert/gemma-task/model.json", "link.json",
        "sealed/gemma.sealed", "sealed/gemma-task.sealed", "manifest.json",
    }  # fmt: skip
    assert (tree / "llama/gemma/gemma.amg").read_bytes() == files.path("files/hub-name.gguf").read_bytes()
    assert (tree / "sealed/gemma-task.sealed").read_bytes() == files.path("files/gemma.task").read_bytes() + b"sealed\n"


@pytest.mark.skipif(os.name != "posix", reason="hard links")
def test_the_model_lies_on_the_disk_once(files: Project):
    laid_out, bundled = files.path("dist/tree/llama/gemma/gemma.amg"), files.path("dist/bundle/gemma/hub-name.gguf")
    assert laid_out.stat().st_ino == bundled.stat().st_ino, "/tmp has hard links"


def test_it_is_listed_and_proven(files: Project):
    listed = {one["path"] for one in files.json("dist/manifest.json")["files"]}
    assert {"tree/llama/gemma/gemma.amg", "tree/sealed/gemma.sealed", "bundle/gemma/model.json"} <= listed
    (proof,) = files.json("dist/manifest.json")["proofs"]
    assert proof == {"subject": "tree", "proven": "5 files of 4 tasks"}
    found = {one["file"]: one for one in files.json("dist/tree/link.json")["files"]}
    assert found["llama/gemma/gemma.amg"]["runtime"] == "llama.cpp"
    assert found["litert/gemma-task/gemma.task"]["runtime"] == "LiteRT"
    assert "runtime" not in found["litert/gemma-task/model.json"]
    assert found["sealed/gemma.sealed"]["task"] == "seal:gemma"


def test_an_output_that_is_spoilt_in_the_tree_is_not_published(files: Project):
    path = files.path("build/layout/tree/sealed/gemma-task.sealed")
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before.replace(b"sealed", b"SEALED"))
    files.ok()
    assert path.read_bytes() == before
    assert files.path("dist/tree/sealed/gemma-task.sealed").read_bytes() == before


def test_two_tasks_with_one_name_in_a_directory_and_a_file_that_is_several_are_refused(files: Project):
    good = files.path("targets.yaml").read_text()
    try:
        files.edit("targets.yaml", '"bundle:gemma-*": {directory: "litert/{model}"}', '"bundle:*": {directory: all}')
        run = files.doit()
        assert run.status
        assert (
            "bundle:gemma-task has a file model.json, and the layout puts bundle:gemma at all/model.json" in run.output
        )
        files.write("targets.yaml", good)
        files.edit("targets.yaml", '"seal:*": {directory: sealed}', '"seal:gemma": {file: sealed}')
        files.edit("targets.yaml", 'outputs: ["{model}.sealed"]', 'outputs: ["*"]')
        files.edit("targets.yaml", "echo sealed)", 'echo sealed; touch "$1.more")')
        run = files.doit()
        assert run.status
        assert "seal:gemma has put out 2 files, and sealed is the place of one" in run.output
        assert "Traceback" not in run.output
    finally:
        files.write("targets.yaml", good)


@pytest.mark.parametrize("key", ["backends", "matrix"])
def test_a_model_to_compile_still_needs_both(files: Project, tmp_path: Path, key: str):
    project = Project(tmp_path)
    project.write("dodo.py", DODO)
    (tmp_path / "recipe.py").write_text("def build(spec): ...\n")
    project.write(
        "targets.yaml",
        "version: 1\nmodels: {tiny: {factory: recipe.py:build, variants: {f32: {}}}, "
        "gemma: {gguf: {hf: a/b, revision: main, file: x.gguf}}}\n"
        + {"backends": "matrix: {model: [tiny], backend: [ios]}\n", "matrix": "backends: {ios: {preset: iphone}}\n"}[
            key
        ]
        + "products: {app: {kind: native, backends: [ios]}}\n",
    )
    run = project.doit("plan")
    assert run.status == 3
    assert f"targets.yaml:1:1: the key `{key}` is missing\n  hint: add `{key}:`" in run.output
    assert "unknown backend" not in run.output
