"""A model small enough to compile in a moment: y = relu(x @ w.T), and a check of its numbers against numpy."""

import numpy as np
from tvm.relax.frontend import nn

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

SIZE = 8


class Tiny(nn.Module):
    def __init__(self, dtype: str) -> None:
        self.linear = nn.Linear(SIZE, SIZE, bias=False, dtype=dtype)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        return nn.op.relu(self.linear(x))


def build(spec: BuildSpec):
    dtype = spec.options.get("dtype", "float32")
    module, _ = Tiny(dtype).export_tvm(spec={"forward": {"x": nn.spec.Tensor([2, SIZE], dtype)}})
    return module, {"linear.weight": lambda: weight(dtype)}


def weight(dtype: str) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((SIZE, SIZE)).astype(dtype)


def check(session: Session):
    x = np.linspace(-1, 1, 2 * SIZE, dtype="float32").reshape(2, SIZE)
    yield Comparison("forward", session.call("forward", x), np.maximum(x @ weight("float32").T, 0), 1e-5)
