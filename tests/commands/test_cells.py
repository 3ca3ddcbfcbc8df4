"""`doit cells` groups the compiles of the matrix for CI."""

from __future__ import annotations

import json

import pytest


def test_by_default_cells_of_one_variant_are_one_job(project):
    assert project.ok("cells").output == "compile:tiny-f32@host compile:tiny-f32@ios-arm64\n"


def test_the_matrix_of_github(project):
    text = project.ok("cells", "--format", "github", "--group-by", "backend", "--runs-on", "big").output
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "include": [
            {"name": "host", "tasks": "compile:tiny-f32@host", "runs-on": "big"},
            {"name": "ios-arm64", "tasks": "compile:tiny-f32@ios-arm64", "runs-on": "big"},
        ]
    }


def test_json_has_everything_known_of_a_cell(project):
    (group,) = json.loads(project.ok("cells", "--format", "json").output)
    assert group["name"] == "tiny-f32"
    assert group["cells"][1] == {
        "task": "compile:tiny-f32@ios-arm64", "model": "tiny", "variant": "f32", "backend": "ios-arm64",
        "toolchain": "current", "device": "metal", "triple": "arm64-apple-ios14.0", "state": "unknown", "seconds": None,
    }  # fmt: skip


def test_groups_are_merged_until_they_are_few_enough(project):
    project.edit("targets.yaml", "backend: [host, ios-arm64]", "backend: [host, ios-arm64, sim, web]")
    project.edit("targets.yaml", "matrix:\n", "  sim: {preset: iphone-simulator}\n  web: {preset: webgpu}\nmatrix:\n")
    lines = project.ok("cells", "--group-by", "cell", "--max-jobs", "2").output.splitlines()
    assert sorted(" ".join(lines).split()) == [
        "compile:tiny-f32@host", "compile:tiny-f32@ios-arm64", "compile:tiny-f32@sim", "compile:tiny-f32@web"
    ]  # fmt: skip
    assert [len(line.split()) for line in lines] == [2, 2]


def test_what_jobs_share_is_what_no_compile_comes_before(project):
    assert project.ok("cells", "--format", "shared").output == "toolchain:current weights:tiny params:tiny-f32\n"


@pytest.mark.tvm
def test_only_stale_cells(built):
    assert json.loads(built.ok("cells", "--stale", "--format", "github").output) == {"include": []}
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    assert built.ok("cells", "--stale").output == "compile:tiny-f32@ios-arm64\n"


@pytest.mark.parametrize("words", [["--max-jobs", "0"], ["--max-jobs", "many"], ["--group-by", "colour"], ["compile"]])
def test_a_mistake_is_an_error_with_status_3(project, words):
    run = project.doit("cells", *words)
    assert run.status == 3
    assert run.output.startswith("ERROR: ")
    assert "Traceback" not in run.output
