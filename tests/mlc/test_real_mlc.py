"""The real mlc_llm, where there is one: MLC_TEST_ENVIRONMENT names an environment, MLC_LLM_SOURCE_DIR a checkout.

A small Qwen3 and a small Llama are compiled for the backends of an app with a web page. Only the weights are fakes,
and no library is made of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mlc_projects import CHAT, converted
from projects import DODO, Project

from pipeline.binary.objects import read_object
from pipeline.doit_plugin.session import Session
from pipeline.engine.options import Options

ENVIRONMENT, CHECKOUT = os.environ.get("MLC_TEST_ENVIRONMENT"), os.environ.get("MLC_LLM_SOURCE_DIR")

pytestmark = [
    pytest.mark.mlc,
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not ENVIRONMENT and not CHECKOUT, reason="needs MLC_TEST_ENVIRONMENT or MLC_LLM_SOURCE_DIR"),
]

LLAMA = {
    "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2,
    "rms_norm_eps": 1e-5, "vocab_size": 512, "tie_word_embeddings": False, "position_embedding_base": 10000,
    "rope_scaling": None,
    "context_window_size": 2048, "prefill_chunk_size": 512, "num_key_value_heads": 2, "head_dim": 32,
    "tensor_parallel_shards": 1, "pipeline_parallel_stages": 1, "max_batch_size": 4, "disaggregation": False,
}  # fmt: skip
QWEN3 = {
    "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 256, "attention_bias": False,
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000, "vocab_size": 512, "tie_word_embeddings": True, "context_window_size": 2048,
    "prefill_chunk_size": 512, "tensor_parallel_shards": 1, "head_dim": 32, "dtype": "float32", "max_batch_size": 4,
    "weight_block_size": None,
}  # fmt: skip

TARGETS = """\
version: 1
toolchains:
  mlc: {TOOLCHAIN}
models:
  qwen3:
    compiler: mlc
    toolchain: mlc
    weights: {path: qwen3}
    variants: {q4f16_1: {overrides: {context_window_size: 1024}}}
  llama:
    compiler: mlc
    toolchain: mlc
    weights: {path: llama}
    variants: {q4f16_1: {overrides: {context_window_size: 1024}}}
backends:
  ios: {preset: iphone, deployment_target: "15.0"}
  catalyst-arm64: {preset: macabi, deployment_target: "17.0"}
  catalyst-x86_64: {preset: macabi, arch: x86_64, deployment_target: "17.0"}
  android: {preset: android}
  web: {preset: webgpu}
matrix:
  model: [qwen3, llama]
  backend: [ios, catalyst-arm64, catalyst-x86_64, android, web]
products:
  apple: {kind: xcframework, backends: [ios, catalyst-arm64, catalyst-x86_64]}
"""


def chat(model_type: str, config: dict) -> dict:
    sizes = {key: config[key] for key in ("vocab_size", "context_window_size", "prefill_chunk_size")}
    return CHAT | sizes | {"model_type": model_type, "quantization": "q4f16_1", "model_config": config}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Project:
    """The project, built."""
    root = tmp_path_factory.mktemp("real") / "project"
    root.mkdir()
    parts = [f"path: {Path(ENVIRONMENT).absolute()}"] if ENVIRONMENT else []
    parts += ["source: $MLC_LLM_SOURCE_DIR"] if CHECKOUT else []
    (root / "targets.yaml").write_text(TARGETS.replace("TOOLCHAIN", ", ".join(parts)))
    (root / "dodo.py").write_text(DODO)
    converted(root / "llama", **chat("llama", LLAMA))
    converted(root / "qwen3", **chat("qwen3", QWEN3))
    project = Project(root)
    project.ok(timeout=3600)
    return project


def test_everything_is_proven_and_nothing_is_left_to_do(real):
    for backend in ("ios", "catalyst-arm64", "catalyst-x86_64", "android", "web"):
        checks = real.json(f"build/verify/{backend}/report.json")["checks"]
        assert {check["state"] for check in checks} == {"proven"}, checks
    assert real.ok().idle


def test_names_are_those_that_this_very_mlc_gives(real):
    session = Session(real.path("targets.yaml"), Options())
    names = [name for name in session.engine.actions if name.startswith("compile:")]
    assert len(names) == 10
    for name in names:
        facts = session.engine.store.record(session.engine.workspace.get(name).key).facts
        device = "android" if "@android" in name else "iphone"
        assert facts["model_lib"] == facts["mlc_names"][device], name
        assert facts["memory"]["decode"] > 0


def test_objects_are_for_the_declared_systems(real):
    wanted = {"ios": "15.0", "catalyst-arm64": "17.0", "catalyst-x86_64": "17.0"}
    for backend, version in wanted.items():
        for path in real.path("build/compile").glob(f"*@{backend}+mlc/*.o"):
            assert read_object(path.read_bytes(), path.name).minimum_os == version


def test_a_deployment_target_recompiles_its_cells_only(real):
    real.edit("targets.yaml", 'iphone, deployment_target: "15.0"', 'iphone, deployment_target: "16.0"')
    built = {name for name in real.ok(timeout=3600).built if name.startswith("compile:")}
    assert built == {"compile:qwen3-q4f16_1@ios+mlc", "compile:llama-q4f16_1@ios+mlc"}


def test_what_this_mlc_does_not_know_is_named(real):
    converted(real.path("llama"), **(chat("llama", LLAMA) | {"model_type": "mamba9"}))
    run = real.doit("compile:llama-q4f16_1@web+mlc")
    assert run.status != 0
    assert "toolchain mlc does not know the architecture 'mamba9'" in run.output
    assert json.dumps("llama").strip('"') in run.output
