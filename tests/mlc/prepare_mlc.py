"""Prepares what the tests marked `mlc` and `bench/mlc.py` take, from a checkout of mlc-llm that you name.

Run it with the Python of an environment that has TVM and what mlc_llm imports:

    ENVIRONMENT/bin/python tests/mlc/prepare_mlc.py CHECKOUT FOLDER

FOLDER gets the checkout's Python, made to work with TVM 0.26 (nothing is written into the checkout), and for each model
a `mlc-chat-config.json` and the index of its weights, of which there are none: the published configurations that the
checkout knows, most of them with sizes that compile fast. What it prints sets the variables that the tests read.
"""

from __future__ import annotations

import ast
import importlib
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

SMALL = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 2, "vocab_size": 512,
}  # fmt: skip

MODELS = {
    "qwen3-0.6b": ("qwen3_0.6b", {}),
    # Gemma 3 of 270 million parameters differs from the one of a billion in the first three.
    "gemma3-270m": (
        "gemma3_1b_it",
        {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "vocab_size": 8192},
    ),
    "qwen3": ("qwen3_0.6b", {**SMALL, "head_dim": 64}),
    "llama": ("llama3_2_1b", SMALL | {"head_dim": 64}),
    # As the Phi-3 with a short context has it: the code for long ones does not pass the parser of TVM 0.26.
    "phi3": ("phi-3_5", SMALL | {"rope_scaling": None}),
    "mistral": ("mistral_7b_v03", SMALL),
    "qwen2": ("qwen2_0_5b", SMALL),
}
"""Model -> whose configuration it has in mlc_llm's `MODEL_PRESETS`, and what differs."""

OWN = "_for_tvm_0_26.py"

ADAPTED = '''\
"""Lets this mlc_llm, made for a TVM between two releases, work with TVM 0.26. Written by Slipway's prepare_mlc.py.

That TVM keeps the buffers of a function among its parameters. The samplers for GPUs are left out: what they are made of
does not pass its type checker.
"""

import tvm
from tvm import relax, tirx

from mlc_llm.compiler_pass import lift_global_buffer_alloc, pipeline


def _is_buffer(parameter):
    return isinstance(parameter.ty, tirx.buffer.BufferType)


def _lifted(function):
    """Make parameters of the buffers in global memory that a function allocates; return it, and their types."""
    root = function.body.block
    lifted = [buffer for buffer in root.alloc_buffers if buffer.scope() == "global"]
    if not lifted:
        return function, []
    last = max(index for index, one in enumerate(function.params) if _is_buffer(one)) + 1
    params = [*function.params[:last], *lifted, *function.params[last:]]
    kept = [buffer for buffer in root.alloc_buffers if buffer.scope() != "global"]
    block = tirx.SBlock([], [], [], root.name_hint, root.body, alloc_buffers=kept, annotations=root.annotations)
    made = tirx.PrimFunc(params, tirx.SBlockRealize([], True, block), function.ret_type, function.attrs)
    return made, [relax.TensorType(buffer.shape, buffer.dtype) for buffer in lifted]


if tvm.__version__.startswith("0.26."):
    tirx.PrimFunc.buffer_map = property(lambda function: {one: one for one in function.params if _is_buffer(one)})
    relax.DataflowVar.name_hint = property(lambda variable: variable.name)
    lift_global_buffer_alloc.remove_global_buf_alloc = _lifted
    pipeline.AttachGPUSamplingFunc = lambda *_: tvm.transform.Sequential([])
'''


def main() -> None:
    checkout, folder = (Path(word).absolute() for word in sys.argv[1:])
    source = folder / "mlc-llm"
    copied(checkout / "python" / "mlc_llm", source / "python" / "mlc_llm")
    presets = published(source / "python" / "mlc_llm" / "model" / "model_preset.py")
    os.environ |= {"SKIP_LOADING_MLCLLM_SO": "1", "MLC_LLM_HOME": str(folder / "home")}
    sys.path.insert(0, str(source / "python"))
    importlib.import_module("tvm_ffi.registry")._SKIP_UNKNOWN_OBJECTS = True
    kinds = importlib.import_module("mlc_llm.model").MODELS
    for name, (preset, changes) in MODELS.items():
        model = folder / "models" / name
        model.mkdir(parents=True, exist_ok=True)
        chat = chat_config(kinds, presets[preset] | changes)
        (model / "mlc-chat-config.json").write_text(json.dumps(chat, indent=2) + "\n")
        (model / "tensor-cache.json").write_text(json.dumps(index(kinds[chat["model_type"]], chat), indent=2) + "\n")
    print(f"export MLC_TEST_ENVIRONMENT={sys.prefix}")
    print(f"export MLC_LLM_SOURCE_DIR={source}")
    print(f"export MLC_TEST_MODELS={folder / 'models'}")


def copied(package: Path, copy: Path) -> None:
    """The package, with our module in it, which it imports at last."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / OWN).write_text(ADAPTED)
    with (copy / "__init__.py").open("a") as file:
        file.write(f"from . import {Path(OWN).stem}  # noqa: E402,F401\n")


def published(file: Path) -> dict:
    """mlc_llm's `MODEL_PRESETS`, read and not run."""
    assigned = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return next(ast.literal_eval(node.value) for node in assigned if "MODEL_PRESETS" in ast.dump(node))


def chat_config(kinds: dict, published: dict) -> dict:
    """What `mlc_llm gen_config` makes of a configuration, but for the tokenizer, which takes its C++ library."""
    kind = kinds[published["model_type"]]
    model = kind.config.from_dict(published | {"max_batch_size": 128, "prefill_chunk_size": 2048}).asdict()
    sizes = {
        "vocab_size": 0, "context_window_size": -1, "sliding_window_size": -1, "prefill_chunk_size": -1,
        "attention_sink_size": -1, "tensor_parallel_shards": 1, "pipeline_parallel_stages": 1,
    }  # fmt: skip
    top = {name: model.get(name, default) for name, default in sizes.items()}
    own = {"version": "0.1.0", "model_type": kind.name, "quantization": "q4f16_1", "conv_template": {"name": "LM"}}
    return {**own, **top, "model_config": model}


def index(kind, chat: dict) -> dict:
    """The index of a model's weights, all in one shard."""
    quantization = importlib.import_module("mlc_llm.quantization").QUANTIZATION[chat["quantization"]]
    with importlib.import_module("tvm.target").Target("metal"):
        model, _ = kind.quantize[quantization.kind](kind.config.from_dict(chat["model_config"]), quantization)
        _, parameters, _ = model.export_tvm(spec=model.get_default_spec(), allow_extern=True)
    records, end = [], 0
    for name, parameter in parameters:
        shape = [extent if isinstance(extent, int) else chat["vocab_size"] for extent in parameter.shape]
        size = math.prod(shape) * int(re.search(r"\d+", str(parameter.dtype))[0]) // 8
        own = {"name": name, "shape": shape, "dtype": str(parameter.dtype), "format": "raw"}
        records.append({**own, "nbytes": size, "byteOffset": end})
        end += size
    shard = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": end, "records": records}
    return {"metadata": {}, "records": [shard]}


if __name__ == "__main__":
    main()
