"""Models whose functions have every kind of argument that a binding knows; `spec.options["scale"]` tells two apart.

Both have a parameter called `scale`, as two models of one app may.
"""

import numpy as np
from tvm import te
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op


class Scaled(nn.Module):
    """Multiplies by its one parameter."""

    def __init__(self) -> None:
        self.scale = nn.Parameter((4,), dtype="float32")

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        """(n, 4) -> (n, 4)."""
        return x * self.scale

    def split(self, x: nn.Tensor, mask: nn.Tensor) -> tuple[nn.Tensor, nn.Tensor]:
        """(n, 4) and (n,) int32 -> (n, 4), and the mask plus one: two extents that must agree."""
        counted = op.astype(op.reshape(mask, (mask.shape[0], 1)), "float32")
        return x * self.scale * counted, op.tensor_expr_op(
            lambda m: te.compute(m.shape, lambda i: m[i] + 1, name="more"), "more", [mask]
        )

    def ones(self, count: int) -> nn.Tensor:
        """A shape -> that many ones."""
        return op.full((count,), nn.Tensor.from_scalar(1.0, "float32"), dtype="float32")

    def fixed(self, self_: nn.Tensor, half: nn.Tensor) -> nn.Tensor:
        """(2, 3) int64 and (2,) float16, sizes that are constants -> the half, doubled."""
        return half + half + op.astype(op.sum(self_), "float16") * 0.0


def build(spec):
    packed = {"param_mode": "packed", "effect_mode": "none"}
    plain = {"param_mode": "plain", "effect_mode": "none"}
    none = {"param_mode": "none", "effect_mode": "none"}
    x = nn.spec.Tensor(["n", 4], "float32")
    module, _ = Scaled().export_tvm(
        spec={
            "forward": {"x": x, "$": packed},
            "split": {"x": x, "mask": nn.spec.Tensor(["n"], "int32"), "$": plain},
            "ones": {"count": int, "$": none},
            "fixed": {
                "self_": nn.spec.Tensor([2, 3], "int64"),
                "half": nn.spec.Tensor([2], "float16"),
                "$": none,
            },
        }
    )
    return module, {"scale": np.full(4, spec.options["scale"], "float32")}
