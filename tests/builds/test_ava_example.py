"""`examples/ava` with its stand-ins: the tree that AVA expects, the weights once, another backend for its own price."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from projects import Project

EXAMPLE = Path(__file__).parents[2] / "examples" / "ava"
MODELS = "AVA-LL32-1B16", "AVA-GE2-2B16", "AVA-QW3-17B16"
TREE = "dist/ava-ai-models-external"
SMOKE = "targets=smoke.yaml"


def example(root: Path) -> Project:
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("build", "dist", "slipway.lock"))
    project = Project(root)
    project.env["AVA3_KEY"] = "only for this test"
    return project


@pytest.fixture(scope="module")
def ava(tmp_path_factory) -> Project:
    project = example(tmp_path_factory.mktemp("ava") / "project")
    project.ok(SMOKE, timeout=900)
    return project


def test_the_matrix_of_the_manual_is_planned_without_network(tmp_path):
    ava = example(tmp_path / "project")
    said = ava.ok("devices", "--json").output
    devices = json.loads(said[said.index("{\n") :])["devices"]
    gets = {one["name"]: [(model["variant"], model["backend"]) for model in one["models"]] for one in devices}
    assert len(gets) == 11
    assert gets["realwear-hmt-1"] == [("AVA-LL32-1B16-q4f16_1", "adreno")]
    assert gets["rokid-x-craft"] == [("AVA-QW3-17B16-q4f16_1", "mali"), ("AVA-GE3N-2B", "LiteRT")]
    assert gets["galaxy-s23"] == [("AVA-QW3-4B16-q4f16_1", "adreno"), ("AVA-GE3N-4B", "LiteRT")]
    assert gets["iphone-15-pro"] == [("AVA-QW3-4B16-q4f16_1", "ios"), ("AVA-GE3N-4B", "LiteRT")]
    assert gets["iphone-15"] == [("AVA-QW3-17B16-q4f16_1", "ios")]
    ava.edit("targets.yaml", "galaxy-s23: {gpu: adreno, ram: 8GB", "galaxy-s23: {gpu: adreno, ram: 4GB")
    run = ava.doit("plan")
    assert run.status == 3
    assert "galaxy-s23 cannot hold AVA-QW3-4B16-q4f16_1 on adreno: it takes 2.50 GB" in run.output


@pytest.mark.slow
def test_every_library_is_where_the_manual_has_it(ava):
    for folder, ending in ("llm", "-adreno.tar"), ("llm-mali", "-mali.tar"), ("llm-coreml", "-ios.tar"):
        for model in MODELS:
            with tarfile.open(ava.path(f"{TREE}/{folder}/{model}/{model}{ending}")) as library:
                objects, device_code = sorted(library.getnames(), key=lambda name: name != "lib0.o")
            assert objects == "lib0.o"
            assert device_code.endswith("devc.o")
    assert all(ava.path(f"{TREE}/llm-macos/{model}/{model}.dylib").is_file() for model in MODELS)
    for place, bundled in (
        ("llm-gguf/AVA-GE3N-4B/AVA-GE3N-4B.amg", "gguf"),
        ("llm-litert/AVA-GE3N-2B/AVA-GE3N-2B.amr", "task"),
    ):
        (original,) = ava.path("dist/bundle").glob(f"{Path(place).stem}/*.{bundled}")
        assert ava.path(f"{TREE}/{place}").read_bytes() == original.read_bytes()
    assert (
        ava.path(f"{TREE}/llm-gguf/AVA-GE3N-4B/AVA-GE3N-4B.amg").stat().st_ino
        == next(ava.path("dist/bundle/AVA-GE3N-4B").glob("*.gguf")).stat().st_ino
    ), "/tmp has hard links"
    assert {path.name for path in ava.path("dist/encoded").glob("*.ava3")} == {
        *(f"{model}.amm.ava3" for model in MODELS), "AVA-GE3N-2B.amr.ava3", "AVA-GE3N-4B.amg.ava3",
    }  # fmt: skip
    assert len(list(ava.path("dist/encoded/verified").iterdir())) == len(MODELS) + 2
    listed = {one["name"]: one["runtime"] for one in ava.json("dist/manifest.json")["models"]}
    assert listed == {"AVA-GE3N-2B": "LiteRT", "AVA-GE3N-4B": "llama.cpp"}


@pytest.mark.slow
def test_another_backend_copies_no_weights_and_recompiles_nothing(ava):
    ava.edit("smoke.yaml", "  ios: {preset: iphone", "  opencl: {preset: android}\n  ios: {preset: iphone")
    ava.edit("smoke.yaml", "backend: [adreno,", "backend: [opencl, adreno,")
    ava.edit("smoke.yaml", "backends: [adreno, mali, ios, macos]", "backends: [opencl, adreno, mali, ios, macos]")
    where = '{library: "llm-opencl/{model}/{model}-opencl.tar", bundle: "llm-opencl/{model}"}'
    ava.edit("smoke.yaml", "      adreno: {library", f"      opencl: {where}\n      adreno: {{library")
    run = ava.ok(SMOKE, timeout=900)
    built = [name for name in run.built if name.partition(":")[0] in {"compile", "weights", "params", "bundle", "ava3"}]
    assert sorted(built) == sorted(f"compile:{model}-standin@opencl" for model in MODELS)
    assert all(ava.path(f"{TREE}/llm-opencl/{model}/params_shard_0.bin").is_file() for model in MODELS)
