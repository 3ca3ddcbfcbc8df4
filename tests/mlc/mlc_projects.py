"""What the tests of `mlc` share: an environment with the fake of mlc_llm, and a project that compiles with it."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

from projects import DODO, Project

FAKE = Path(__file__).with_name("fake_mlc_llm.py")

CHAT = {
    "version": "0.1.0", "model_type": "llama", "quantization": "q0f32", "vocab_size": 64, "context_window_size": 128,
    "prefill_chunk_size": 128, "tensor_parallel_shards": 1, "conv_template": {"name": "LM"},
    "tokenizer_files": ["tokenizer.json"],
    "model_config": {
        "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1,
        "rms_norm_eps": 1e-5, "vocab_size": 64, "tie_word_embeddings": False, "position_embedding_base": 10000,
        "rope_scaling": None, "context_window_size": 128, "prefill_chunk_size": 128, "num_key_value_heads": 2,
        "head_dim": 16, "tensor_parallel_shards": 1, "pipeline_parallel_stages": 1, "max_batch_size": 4,
        "disaggregation": False,
    },
}  # fmt: skip

TARGETS = """\
version: 1
toolchains:
  mlc: {path: ../env}
models:
  small:
    compiler: mlc
    toolchain: mlc
    weights: {path: weights}
    variants:
      q0f32: {overrides: {context_window_size: 64}}
backends:
  ios: {preset: iphone, deployment_target: "15.0"}
  catalyst-arm64: {preset: macabi, deployment_target: "17.0"}
  catalyst-x86_64: {preset: macabi, arch: x86_64, deployment_target: "17.0"}
  adreno: {preset: "android:adreno"}
  web: {preset: webgpu}
matrix:
  model: [small]
  backend: [ios, catalyst-arm64, catalyst-x86_64, adreno, web]
products:
  apple: {kind: xcframework, backends: [ios, catalyst-arm64, catalyst-x86_64]}
"""


def environment(folder: Path) -> Path:
    """A virtual environment that sees the packages of this one and has the fake as its program `mlc_llm`."""
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    program = folder / "bin" / "mlc_llm"
    shutil.copy(FAKE, folder / "bin" / "fake.py")
    # A line of `#!` holds no more than 127 bytes, and tests run in deep folders.
    program.write_text('#!/bin/sh\nhere=$(dirname "$0")\nexec "$here/python" "$here/fake.py" "$@"\n')
    program.chmod(0o755)
    assert (folder / "bin" / "python").resolve() == Path(sys.executable).resolve()
    return folder


def mlc_project(root: Path, targets: str = TARGETS) -> Project:
    """A project with a converted model; nothing has been built."""
    root.mkdir(parents=True)
    environment(root.parent / "env")
    (root / "dodo.py").write_text(DODO)
    (root / "targets.yaml").write_text(targets)
    converted(root / "weights")
    return Project(root)


def converted(folder: Path, **changes: object) -> None:
    """Weights in MLC's form."""
    folder.mkdir(exist_ok=True)
    (folder / "mlc-chat-config.json").write_text(json.dumps(CHAT | changes))
    shard(folder, b"\0" * 64)
    (folder / "tokenizer.json").write_text("{}\n")


TENSOR = {"name": "weight", "shape": [2, 4], "dtype": "float32", "format": "raw", "nbytes": 32, "byteOffset": 0}
"""What the fake library takes."""


def shard(folder: Path, data: bytes, tensor: Mapping[str, object] = TENSOR) -> None:
    """The only shard, and the index that names it."""
    (folder / "params_shard_0.bin").write_bytes(data)
    records = [{"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": len(data), "records": [tensor]}]
    (folder / "tensor-cache.json").write_text(json.dumps({"metadata": {}, "records": records}))


def raw(folder: Path) -> None:
    """Weights as transformers writes them."""
    folder.mkdir(exist_ok=True)
    config = {**CHAT["model_config"], "model_type": "llama", "max_position_embeddings": 128}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\1" * 64)
    (folder / "tokenizer.json").write_text("{}\n")
