"""A model of one dense layer and a cumulative product of shapes, small enough to compile in a fraction of a second."""

import numpy as np
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from pipeline.compilers.recipe import Comparison

SIZE = 96


class Tiny(nn.Module):
    def __init__(self, dtype):
        self.dense = nn.Linear(SIZE, SIZE, dtype=dtype)
        self.norm = nn.RMSNorm(SIZE, -1, 1e-5, bias=False, dtype=dtype)

    def forward(self, x):
        return op.softmax(self.norm(self.dense(x)), axis=-1)

    def double(self, x):
        return x + x


def parameters(dtype):
    made = np.random.Generator(np.random.PCG64(7))
    shapes = {"dense.weight": (SIZE, SIZE), "dense.bias": (SIZE,), "norm.weight": (SIZE,)}
    return {name: made.uniform(-1, 1, shape).astype(dtype) for name, shape in shapes.items()}


def build(spec):
    dtype = spec.options.get("dtype", "float32")
    mode = spec.options.get("param_mode", "packed")
    rows = spec.options.get("rows", "n")
    x = nn.spec.Tensor([rows, SIZE], dtype)
    module, _ = Tiny(dtype).export_tvm(
        spec={
            "forward": {"x": x, "$": {"param_mode": mode, "effect_mode": "none"}},
            "double": {"x": x, "$": {"param_mode": "none", "effect_mode": "none"}},
        }
    )
    return module, parameters(dtype)


def check(session):
    x = np.random.Generator(np.random.PCG64(8)).uniform(-1, 1, (5, SIZE)).astype("float32")
    held = parameters("float32")
    y = x @ held["dense.weight"].T + held["dense.bias"]
    y = y / np.sqrt((y * y).mean(axis=-1, keepdims=True) + 1e-5) * held["norm.weight"]
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    yield Comparison("forward", session.call("forward", x), e / e.sum(axis=-1, keepdims=True), 1e-6)
    yield Comparison("double", session.call("double", x), 2 * x, 0)
