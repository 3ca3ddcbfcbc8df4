"""Writes decoder.json: logits by transformers' Qwen3ForCausalLM, which shares no code with TVM.

Run it by hand, once: `python make_decoder.py DIRECTORY`, the directory holding the decoder's parameters as Slipway
wrote them (build/params/decoder-q4f16_1), in an environment with torch and transformers. The four-bit weights are
unpacked here by code of its own and put into the model as float32; versions and the weights' digest go into the file.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

PROMPT = (7, 1999, 512, 33, 2047, 0, 1024, 77, 300, 5, 1500, 901)
STEPS = 8
COLUMNS = list(range(5, 2048, 32))
"""The logits that are kept; the most likely of all is kept beside them."""


def read(directory: Path) -> dict[str, np.ndarray]:
    """Read a tensor cache: name -> array."""
    tensors = {}
    for shard in json.loads((directory / "tensor-cache.json").read_text())["records"]:
        data = (directory / shard["dataPath"]).read_bytes()
        for record in shard["records"]:
            start = record["byteOffset"]
            part = np.frombuffer(data[start : start + record["nbytes"]], record["dtype"])
            tensors[record["name"]] = part.reshape(record["shape"])
    return tensors


def unpack(words: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return float32 weights: eight numbers of four bits a word, lowest first, less 7, times a scale for each 32."""
    out = np.empty((words.shape[0], words.shape[1] * 8), np.float32)
    for place in range(8):
        out[:, place::8] = (words // 16**place % 16).astype(np.float32) - 7
    return out * np.repeat(scales.astype(np.float32), 32, axis=1)


def published(tensors: dict[str, np.ndarray], layers: int, query: int, key: int) -> dict[str, torch.Tensor]:
    """Rename and part the parameters as Qwen3 has them; `query` and `key` are rows."""

    def matrix(name: str) -> np.ndarray:
        return unpack(tensors[f"{name}.words"], tensors[f"{name}.scale"])

    def norm(name: str) -> np.ndarray:
        return tensors[f"{name}.weight"].astype(np.float32)

    embedding = matrix("embedding")
    out = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding, "model.norm.weight": norm("norm")}
    for layer in range(layers):
        own, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        qkv, gate_up = matrix(f"{own}.qkv"), matrix(f"{own}.gate_up")
        half = len(gate_up) // 2
        out |= {
            f"{theirs}.self_attn.q_proj.weight": qkv[:query],
            f"{theirs}.self_attn.k_proj.weight": qkv[query : query + key],
            f"{theirs}.self_attn.v_proj.weight": qkv[query + key :],
            f"{theirs}.self_attn.o_proj.weight": matrix(f"{own}.output"),
            f"{theirs}.self_attn.q_norm.weight": norm(f"{own}.query_norm"),
            f"{theirs}.self_attn.k_norm.weight": norm(f"{own}.key_norm"),
            f"{theirs}.mlp.gate_proj.weight": gate_up[:half],
            f"{theirs}.mlp.up_proj.weight": gate_up[half:],
            f"{theirs}.mlp.down_proj.weight": matrix(f"{own}.down"),
            f"{theirs}.input_layernorm.weight": norm(f"{own}.input_norm"),
            f"{theirs}.post_attention_layernorm.weight": norm(f"{own}.mlp_norm"),
        }
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in out.items()}


def main(directory: Path) -> None:
    """Run the prompt and the most likely tokens after it, and write the file beside this script."""
    config = transformers.Qwen3Config(
        vocab_size=2048,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        tie_word_embeddings=True,
        attention_bias=False,
        hidden_act="silu",
        attn_implementation="eager",
    )
    model = transformers.Qwen3ForCausalLM(config).float().eval()
    model.load_state_dict(published(read(directory), 4, query=4 * 64, key=2 * 64))
    steps, ids, seen = [], list(PROMPT), []
    for number in range(STEPS + 1):
        seen += ids
        with torch.no_grad():
            # Without its cache: the whole sequence again, so that nothing of a cache is taken on trust.
            logits = model(torch.tensor([seen]), use_cache=False).logits[0, -1].double().numpy()
        steps.append(
            {
                "name": "prefill" if number == 0 else f"decode {number}",
                "ids": ids,
                "most_likely": int(logits.argmax()),
                "margin": round(float(np.diff(np.sort(logits)[-2:])[0]), 4),
                "logits": [float(f"{value:.8g}") for value in logits[COLUMNS]],
            }
        )
        ids = [int(logits.argmax())]
    shards = sorted(directory.glob("params_shard_*.bin"))
    document = {
        "made_by": "recipes/reference/make_decoder.py: transformers.Qwen3ForCausalLM in float32, without a cache",
        "versions": {
            "numpy": np.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "weights": {shard.name: hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards},
        "columns": COLUMNS,
    }
    head = json.dumps(document, indent=1).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(step) for step in steps)
    target = Path(__file__).parent / "decoder.json"
    target.write_text(f'{head},\n "steps": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
