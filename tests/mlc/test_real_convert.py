"""The real `mlc_llm convert_weight`, where `MLC_TEST_ENVIRONMENT` has PyTorch besides what `prepare_mlc.py` wants."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from projects import DODO, Project

from pipeline.doit_plugin.session import Session
from pipeline.engine.options import Options

ENVIRONMENT = os.environ.get("MLC_TEST_ENVIRONMENT")
CONFIGS = os.environ.get("MLC_TEST_MODELS")

pytestmark = [
    pytest.mark.mlc,
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CONFIGS and ENVIRONMENT and list(Path(ENVIRONMENT).glob("lib/python3*/site-packages/torch"))),
        reason="needs what prepare_mlc.py prepares, and PyTorch",
    ),
]

MIB = 1 << 20
LIMIT = 1024 * MIB
WIDTH, VOCABULARY = 1024, 64 * 1024
"""The largest tensor has 128 MiB, and nearly all of its shard."""

TARGETS = """\
version: 1
toolchains:
  mlc: {path: ENVIRONMENT, source: $MLC_LLM_SOURCE_DIR}
models:
  big:
    compiler: mlc
    toolchain: mlc
    weights: {path: checkpoint}
    variants: {q4f16_1: {quantization: q4f16_1, conv_template: LM, model_lib: library_big}}
backends: {web: {preset: webgpu}}
matrix: {model: [big], backend: [web]}
"""
TASK = "convert_weight:big-q4f16_1"


def tensors(config: dict) -> dict[str, tuple[int, ...]]:
    """Those of a Qwen3 of one layer, by name."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layer = {
        "self_attn.q_proj": (query, hidden), "self_attn.k_proj": (keys, hidden), "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, query), "self_attn.q_norm": (head,), "self_attn.k_norm": (head,),
        "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
    }  # fmt: skip
    named = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    return {"model.embed_tokens.weight": (config["vocab_size"], hidden), **named, "model.norm.weight": (hidden,)}


def checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """A random one as transformers writes it: the embedding in a shard of its own, all others in a second."""
    config = json.loads(Path(str(CONFIGS), "qwen3", "mlc-chat-config.json").read_text())["model_config"]
    config |= {"hidden_size": WIDTH, "vocab_size": VOCABULARY, "num_hidden_layers": 1}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen3"}))
    (folder / "tokenizer.json").write_text("{}\n")
    random = np.random.default_rng(1)
    named = {name: random.random(shape, np.float32).astype(np.float16) for name, shape in tensors(config).items()}
    places = {name: f"model-{1 if 'embed' in name else 2:05}-of-00002.safetensors" for name in named}
    for file in sorted(set(places.values())):
        write(folder / file, {name: data for name, data in named.items() if places[name] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return named


def write(path: Path, named: dict[str, np.ndarray]) -> None:
    """A file of safetensors."""
    header, end = {}, 0
    for name, data in named.items():
        header[name] = {"dtype": "F16", "shape": data.shape, "data_offsets": [end, end + data.nbytes]}
        end += data.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for data in named.values():
            file.write(data.tobytes())


def read(folder: Path) -> dict[str, np.ndarray]:
    """The parameters that were written."""
    index = json.loads((folder / "tensor-cache.json").read_text())
    return {
        one["name"]: np.fromfile(
            folder / shard["dataPath"], one["dtype"], one["nbytes"] // np.dtype(one["dtype"]).itemsize,
            offset=one["byteOffset"],
        ).reshape(one["shape"])
        for shard in index["records"] for one in shard["records"]
    }  # fmt: skip


def dequantized(words: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What q4f16_1 stands for: eight numbers of four bits in a word, less seven, times the scale of their 32."""
    numbers = (words[..., None] >> np.arange(0, 32, 4, dtype=np.uint32)) & 15
    return (numbers.reshape(len(words), -1) - 7.0) * np.repeat(scales.astype(np.float32), 32, axis=1)


def test_a_checkpoint_is_quantized_in_the_memory_of_a_shard_and_a_gib(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "targets.yaml").write_text(TARGETS.replace("ENVIRONMENT", str(Path(str(ENVIRONMENT)).absolute())))
    (root / "dodo.py").write_text(DODO)
    given = checkpoint(root / "checkpoint")
    project = Project(root)
    assert TASK in project.ok(TASK, timeout=1200).built

    made = read(root / "build" / "convert_weight" / "big-q4f16_1")
    embedding = "model.embed_tokens"
    close = dequantized(made[f"{embedding}.q_weight"], made[f"{embedding}.q_scale"])
    assert np.abs(close - given[f"{embedding}.weight"]).max() < 1 / 7 / 2 + 0.01
    np.testing.assert_array_equal(made["model.norm.weight"], given["model.norm.weight"])
    attention = "model.layers.0.self_attn"
    together = np.concatenate([given[f"{attention}.{one}_proj.weight"] for one in "qkv"])
    close = dequantized(made[f"{attention}.c_attn.q_weight"], made[f"{attention}.c_attn.q_scale"])
    assert np.abs(close - together).max() < 1 / 7 / 2 + 0.01

    engine = Session(root / "targets.yaml", Options()).engine
    peak = engine.store.record(engine.workspace.get(TASK).key).peak_bytes
    assert peak < given[f"{embedding}.weight"].nbytes + LIMIT, peak // MIB
    assert project.ok(TASK).idle
