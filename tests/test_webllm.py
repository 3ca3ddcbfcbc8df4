"""Names and records of WebLLM, held against those that it has published."""

from __future__ import annotations

import base64
import hashlib

import pytest

from pipeline.kits import webllm

CONTEXT_4K = {"context_window_size": 4096}


@pytest.mark.parametrize(
    ("file", "overrides"),
    [
        # An app's own, compiled with --overrides "context_window_size=4096;prefill_chunk_size=2048".
        ("Qwen3-0.6B-q4f16_1-ctx4k_cs2k-webgpu.wasm", {"context_window_size": 4096, "prefill_chunk_size": 2048}),
        # Those of WebLLM's releases.
        ("Qwen3-0.6B-q4f16_1_cs1k-webgpu.wasm", {"prefill_chunk_size": 1024}),
        ("Phi-3.5-vision-instruct-q4f16_1_cs2k-webgpu.wasm", {"prefill_chunk_size": 2048}),
        ("Llama-3.2-1B-Instruct-q4f32_1-ctx4k_cs1k-webgpu.wasm", {"prefill_chunk_size": 1024, **CONTEXT_4K}),
        ("gemma-2b-it-q4f16_1-ctx1k_cs1k-webgpu.wasm", {"context_window_size": 1024, "prefill_chunk_size": 1024}),
        ("Llama-2-7b-chat-hf-q4f16_1-ctx1k-webgpu.wasm", {"context_window_size": 1024}),
        ("Llama-2-7b-chat-hf-q4f32_1-webgpu.wasm", {}),
        (
            "Mistral-7B-Instruct-v0.2-q4f16_1-sw4k_cs1k-webgpu.wasm",
            {"sliding_window_size": 4096, "context_window_size": -1, "prefill_chunk_size": 1024},
        ),
        (
            "snowflake-arctic-embed-m-q0f32-ctx512_cs512_batch32-webgpu.wasm",
            {"context_window_size": 512, "prefill_chunk_size": 512, "max_batch_size": 32},
        ),
    ],
)  # fmt: skip
def test_a_library_has_the_name_that_was_published(file, overrides):
    base = file.split("-q")[0]
    quantization = file.split("-ctx")[0].split("-sw")[0].split("_cs")[0].split("-webgpu")[0].removeprefix(f"{base}-")
    assert webllm.library_file(f"{base}-{quantization}-MLC", quantization, overrides) == file
    assert webllm.library_file(f"{base}-{quantization}-MLC", None, overrides) == file
    assert webllm.library_file(base, quantization, overrides) == file


def test_a_record_says_what_webllm_asks_for():
    record = webllm.record(
        model="https://example.com/m/resolve/main/", model_id="M", model_lib="https://example.com/m.wasm",
        quantization="q4f16_1", overrides={"context_window_size": 4096, "prefill_chunk_size": 2048},
        vram_bytes=1403 * webllm.MIB + webllm.MIB // 3, low_resource=None, integrity={"config": "sha256-x"},
    )  # fmt: skip
    assert record == {
        "model": "https://example.com/m/resolve/main/",
        "model_id": "M",
        "model_lib": "https://example.com/m.wasm",
        "overrides": {"context_window_size": 4096},
        "vram_required_MB": 1403.33,
        "low_resource_required": True,
        "required_features": ["shader-f16"],
        "integrity": {"config": "sha256-x"},
    }


@pytest.mark.parametrize(
    ("quantization", "needed"),
    [("q4f16_1", True), ("q0f16", True), ("q4f32_1", False), ("q0f32", False), ("q4bf16_0", False), (None, False)],
)
def test_16_bit_floats_need_a_feature(quantization, needed):
    assert webllm.needs_f16(quantization) is needed


@pytest.mark.parametrize(
    ("mebibytes", "said", "low"),
    # gemma3-1b, Qwen3-4B and Qwen3-8B as in WebLLM's list, then what targets.yaml says
    [
        (711.07, None, True),
        (3431.59, None, True),
        (5695.78, None, False),
        (5695.78, True, True),
        (711.07, False, False),
    ],
)
def test_what_counts_as_low_resource(mebibytes, said, low):
    record = webllm.record(
        model="m", model_id="m", model_lib="m", quantization=None, overrides={}, low_resource=said, integrity={},
        vram_bytes=int(mebibytes * webllm.MIB),
    )  # fmt: skip
    assert record["low_resource_required"] is low
    assert "overrides" not in record
    assert "integrity" not in record


def test_integrity_is_what_a_browser_computes(tmp_path):
    files = {}
    for name in ("mlc-chat-config.json", "model.wasm", "tokenizer.json"):
        files[name] = tmp_path / name
        files[name].write_bytes(name.encode() * 3)
    found = webllm.integrity(
        files["mlc-chat-config.json"], files["model.wasm"], {"tokenizer.json": files["tokenizer.json"]}
    )
    digest = hashlib.sha256(b"model.wasm" * 3).digest()
    assert found["model_lib"] == f"sha256-{base64.b64encode(digest).decode()}"
    assert set(found) == {"config", "model_lib", "tokenizer"}
    assert set(found["tokenizer"]) == {"tokenizer.json"}
    assert webllm.integrity(None, None, {}) == {}


@pytest.mark.parametrize(
    ("chat", "kind"),
    [
        ({}, 0),
        ({"model_task": "chat", "model_config": {"hidden_size": 1}}, 0),
        ({"model_task": "embedding"}, 1),
        ({"model_config": {"vision_config": {}}}, 2),
    ],
)
def test_what_a_model_is_for(chat, kind):
    assert webllm.model_type(chat) == kind
