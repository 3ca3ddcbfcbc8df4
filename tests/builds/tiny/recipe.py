"""A model small enough to compile in a moment: y = relu(x @ w.T), and a check of its numbers against numpy."""

import json
from pathlib import Path

import numpy as np
from tvm.relax.frontend import nn

from pipeline.compilers.recipe import BuildSpec, Comparison, Session


class Tiny(nn.Module):
    def __init__(self, size: int, dtype: str) -> None:
        self.linear = nn.Linear(size, size, bias=False, dtype=dtype)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        return nn.op.relu(self.linear(x))


def build(spec: BuildSpec):
    size = json.loads((spec.weights / "config.json").read_text())["size"]
    dtype = spec.options.get("dtype", "float32")
    module, _ = Tiny(size, dtype).export_tvm(spec={"forward": {"x": nn.spec.Tensor([2, size], dtype)}})
    return module, {"linear.weight": lambda: weight(spec.weights).astype(dtype)}


def weight(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "weight.txt", dtype="float32")


def check(session: Session):
    w = weight(session.weights)
    x = np.linspace(-1, 1, 2 * len(w), dtype="float32").reshape(2, len(w))
    yield Comparison("forward", session.call("forward", x), np.maximum(x @ w.T, 0), 1e-5)
