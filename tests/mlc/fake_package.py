"""A fake of mlc_llm as a package: what `mlc_lowering` needs of it, in the real one's places, around a small model.

Its command builds as the real one does, by `tvm.relax.build` and an export, with a pipeline and settings of TVM's
passes of its own. `OWN` in the environment has it do something that the real one does not.
"""

from __future__ import annotations

from pathlib import Path

AUTO_TARGET = """
import os
from tvm import relax
from tvm.support import tar

def _build():
    def build(mod, args, pipeline=None):
        if os.environ.get("OWN") == "error":
            raise ZeroDivisionError("of the fake")
        mod = mod.with_attrs({"system_lib_prefix": args.system_lib_prefix})
        own = {"tir_pipeline": None} if os.environ.get("OWN") == "pipeline" else {}
        for _ in range(2 if os.environ.get("OWN") == "twice" else 1):
            made = relax.build(mod, target=args.target, relax_pipeline=pipeline, system_lib=True, **own)
        if os.environ.get("OWN") == "stats":
            made.stats()
        made.export_library(str(args.output), fcompile=tar.tar)
    return build

METAL = {"kind": "metal", "max_threads_per_block": 256, "thread_warp_size": 1}
HOST = {"kind": "llvm", "mtriple": "arm64-apple-darwin"}
PRESET = {
    "iphone:generic": {"target": {**METAL, "libs": ["iphoneos"], "host": HOST}, "build": None},
    "macabi:generic": {"target": {**METAL, "libs": ["macosx"], "host": HOST}, "build": None},
    "android:generic": {"target": {"kind": "opencl", "host": HOST}, "build": _build},
}
if os.environ.get("OWN") == "presets":
    PRESET["macabi:generic"]["target"]["max_threads_per_block"] = 512
"""

COMPILE = """
import argparse, json, os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
import tvm
from tvm import relax, te
from tvm.ir import StringImm
from tvm.target import Target
from mlc_llm.support.auto_target import PRESET

def detect_system_lib_prefix(device, prefix, model, quantization):
    return ""

@dataclass
class Config:
    hidden_size: int

    @classmethod
    def from_dict(cls, fields):
        return cls(fields["hidden_size"])

    def asdict(self):
        return vars(self)

def compile(*, config, quantization, model_type, target, build_func, system_lib_prefix, output, overrides):
    print("os.environ:", {name: value for name, value in os.environ.items() if name.startswith("MLC_MACABI")})
    builder, size = relax.BlockBuilder(), config["model_config"]["hidden_size"]
    rows = tvm.tirx.Var("rows", "int64")
    for name in ("decode", "prefill"):
        x = relax.Var("x", relax.TensorType((rows, size), "float32"))
        w = relax.Var("w", relax.TensorType((size, size), "float32"))
        with builder.function(name, [x, w]):
            with builder.dataflow():
                y = builder.emit(relax.op.nn.relu(relax.op.matmul(x, w)))
                out = builder.emit_output(relax.op.concat([y, y], axis=0))
            builder.emit_func_output(out)
    metadata = {"model_type": model_type.name, "memory_usage": {"decode": 1, "prefill": 2}, "params": []}
    with builder.function("_metadata", []):
        builder.emit_func_output(StringImm(json.dumps(metadata)))
    args = SimpleNamespace(target=target, output=output, system_lib_prefix=system_lib_prefix)
    with tvm.transform.PassContext(config={"tirx.disable_cse_tir": True}):
        build_func(builder.finalize(), args, pipeline=relax.get_default_pipeline(target))

def main(words):
    parser = argparse.ArgumentParser("mlc_llm compile")
    parser.add_argument("config", type=Path)
    parser.add_argument("--model-type", choices=["llama"], default="llama")
    for name in ("--device", "--host", "--opt", "--system-lib-prefix", "--output"):
        parser.add_argument(name, required=True)
    told = parser.parse_args(words)
    assert [path.name for path in told.config.parent.iterdir()] == ["mlc-chat-config.json"]
    preset = PRESET[f"{told.device}:generic"]
    compile(
        config=json.loads(told.config.read_text()), quantization=SimpleNamespace(name="q0f32"),
        model_type=SimpleNamespace(name="llama", config=Config), target=Target(preset["target"]),
        build_func=preset["build"](), output=told.output, overrides=SimpleNamespace(),
        system_lib_prefix=detect_system_lib_prefix(told.device, told.system_lib_prefix, "llama", "q0f32"),
    )
"""


def fake_package(folder: Path) -> Path:
    """Write the package into a directory; return that."""
    files = {
        "__init__.py": "", "support/__init__.py": "", "cli/__init__.py": "",
        "support/logging.py": "def enable_logging(): pass\n",
        "support/auto_target.py": AUTO_TARGET, "cli/compile.py": COMPILE,
    }  # fmt: skip
    for name, text in files.items():
        path = folder / "mlc_llm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
