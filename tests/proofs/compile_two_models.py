"""Compiles two tiny models: `python compile_two_models.py OUT TRIPLE...` writes OUT/TRIPLE/PREFIX.tar.

`forward(x, w) = silu(x @ w)`: the exponential makes it ask for something of libm.
"""

import sys
from pathlib import Path

import tvm
import tvm.support.tar
from tvm import relax
from tvm.script import relax as annotations

PREFIXES = ("tiny_model_a_", "tiny_model_b_")


def build(prefix, triple, out):
    builder = relax.BlockBuilder()
    x = relax.Var("x", annotations.Tensor((2, 4), "float32"))
    w = relax.Var("w", annotations.Tensor((4, 3), "float32"))
    with builder.function("forward", [x, w]):
        with builder.dataflow():
            y = builder.emit_output(builder.emit(relax.op.nn.silu(relax.op.matmul(x, w))))
        builder.emit_func_output(y)
    module = builder.get().with_attrs({"system_lib_prefix": prefix})
    target = tvm.target.Target({"kind": "llvm", "mtriple": triple})
    pipeline = relax.get_default_pipeline(target)
    executable = relax.build(module, target=target, system_lib=True, relax_pipeline=pipeline)
    out.mkdir(parents=True, exist_ok=True)
    executable.export_library(str(out / f"{prefix}.tar"), fcompile=tvm.support.tar.tar)


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        for name in PREFIXES:
            build(name, wanted, Path(sys.argv[1]) / wanted)
