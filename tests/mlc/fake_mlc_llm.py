"""A fake of the program `mlc_llm`: strict about what it is told and by whom, real in what it makes.

It takes the words that the tests know Slipway to use and no others, refuses an environment variable that could steer
the real one unless it is among those that Slipway sets, and compiles a small model with TVM, for the device and the
host that it is told, into the tar of two objects that mlc_llm writes. What it was told it prints.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

ARCHITECTURES = ["llama", "qwen3"]
QUANTIZATIONS = ["q0f32", "q4f16_1"]
TARGETS = {
    "iphone": {"kind": "metal"},
    "macabi": {"kind": "metal"},
    "metal:generic": {"kind": "metal"},
    "android": {"kind": "opencl"},
    "android:adreno": {"kind": "opencl", "device": "adreno"},
    "webgpu": {"kind": "webgpu"},
    "llvm": {"kind": "llvm"},
}
SET = {
    "MLC_LLM_HOME", "MLC_TEMP_DIR", "MLC_JIT_POLICY", "MLC_DOWNLOAD_CACHE_POLICY", "MLC_MACABI_ARCH",
    "MLC_MACABI_DEPLOYMENT_TARGET", "MLC_LLM_SOURCE_DIR", "TVM_NUM_THREADS",
}  # fmt: skip


def main() -> None:
    check_environment()
    subcommand, words = sys.argv[1], sys.argv[2:]
    {"compile": compile_model, "gen_config": gen_config, "convert_weight": convert_weight}[subcommand](words)


def check_environment() -> None:
    strange = sorted(name for name in os.environ if name.startswith(("MLC_", "TVM_")) and name not in SET)
    assert not strange, f"inherited: {strange}"
    assert os.environ["MLC_JIT_POLICY"] == "OFF"
    home = Path(os.environ["MLC_LLM_HOME"])
    assert not home.exists() or not list(home.rglob("*")), f"{home} is not this job's own"


def parsed(words, **options):
    parser = argparse.ArgumentParser("mlc_llm", allow_abbrev=False)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quantization", choices=QUANTIZATIONS, required="quantization" in options)
    parser.add_argument("--model-type")
    for name, required in options.items():
        if name != "quantization":
            parser.add_argument(f"--{name.replace('_', '-')}", required=required)
    return parser.parse_args(words)


def known_architecture(given, config) -> str:
    model_type = given or config["model_type"]
    if model_type not in ARCHITECTURES:
        raise ValueError(f"Unknown model type: {model_type}. Available ones: {ARCHITECTURES}")
    return model_type


def compile_model(words) -> None:
    told = parsed(words, device=True, host=True, opt=True, system_lib_prefix=True, overrides=False)
    assert told.config.name == "mlc-chat-config.json", told.config
    assert [path.name for path in told.config.parent.iterdir()] == [told.config.name]
    config = json.loads(told.config.read_text())
    model_type = known_architecture(told.model_type, config)
    arch = re.match(r"(arm64|x86_64|aarch64|wasm32)-", told.host)[1]
    assert os.environ.get("MLC_MACABI_ARCH") == (arch if told.device == "macabi" else None)
    assert told.output.suffix == ".tar"
    overrides = dict(word.split("=") for word in (told.overrides or "").split(";") if word)
    print(f"fake: {told.device} {told.host} {told.system_lib_prefix} {told.overrides} {told.opt}")
    metadata = {
        "model_type": model_type,
        "quantization": told.quantization or config["quantization"],
        "context_window_size": int(overrides.get("context_window_size", config["context_window_size"])),
        "params": [{"name": "weight", "shape": [2, 4], "dtype": "float32"}],
        "memory_usage": {"decode": 32, "prefill": 64},
    }
    export(metadata, told)


def export(metadata, told) -> None:
    import tvm.support.tar
    from tvm import relax
    from tvm.ir import StringImm
    from tvm.target import Target

    builder = relax.BlockBuilder()
    for name in ("decode", "prefill"):
        x = relax.Var("x", relax.TensorType((2, metadata["context_window_size"]), "float32"))
        with builder.function(name, [x]):
            with builder.dataflow():
                out = builder.emit_output(relax.op.nn.relu(x))
            builder.emit_func_output(out)
    with builder.function("_metadata", []):
        builder.emit_func_output(StringImm(json.dumps(metadata)))
    module = builder.finalize().with_attr("system_lib_prefix", told.system_lib_prefix)
    host = {"kind": "llvm", "mtriple": told.host}
    own = TARGETS[told.device]
    target = Target(host if own["kind"] == "llvm" else {**own, "host": host})
    with target:
        made = relax.build(module, target, system_lib=True, relax_pipeline=relax.get_default_pipeline(target))
    made.export_library(str(told.output), fcompile=tvm.support.tar.tar)


def gen_config(words) -> None:
    told = parsed(words, quantization=True, conv_template=True, context_window_size=False, max_batch_size=False)
    config = json.loads((told.config / "config.json").read_text())
    model_type = known_architecture(told.model_type, config)
    window = int(told.context_window_size or config["max_position_embeddings"])
    chat = {
        "model_type": model_type, "quantization": told.quantization, "model_config": {**config},
        "context_window_size": window, "conv_template": told.conv_template,
    }  # fmt: skip
    (told.output / "mlc-chat-config.json").write_text(json.dumps(chat))
    for path in told.config.glob("tokenizer*"):
        (told.output / path.name).write_bytes(path.read_bytes())


def convert_weight(words) -> None:
    told = parsed(words, quantization=True, device=True, source_format=False)
    assert told.device == "cpu"
    tensors = (told.config / "model.safetensors").read_bytes()
    data = told.quantization.encode() + tensors
    (told.output / "params_shard_0.bin").write_bytes(data)
    place = {"format": "raw", "nbytes": len(data), "byteOffset": 0}
    tensor = {"name": "weight", "shape": [2, 4], "dtype": "float32", **place}
    record = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": len(data), "records": [tensor]}
    (told.output / "tensor-cache.json").write_text(json.dumps({"records": [record]}))


if __name__ == "__main__":
    main()
