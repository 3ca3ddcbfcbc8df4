"""A product of matrices, as many as there are, of open height: on Android its kernel stores vectors."""

from tvm.relax.frontend import nn


class Batched(nn.Module):
    def forward(self, x: nn.Tensor, y: nn.Tensor) -> nn.Tensor:
        return nn.op.matmul(x, y)


def build(_spec):
    shapes = {
        "x": nn.spec.Tensor([1, 12, "n", "n"], "float32"),
        "y": nn.spec.Tensor([1, 12, "n", 32], "float32"),
    }
    module, _ = Batched().export_tvm(spec={"forward": shapes})
    return module, {}
