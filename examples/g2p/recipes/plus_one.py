"""The smallest model there is: `main` adds one. A link that works gives 2.5 for 1.5."""

from collections.abc import Iterator

import numpy as np
from tvm import IRModule
from tvm.relax.frontend import nn

from pipeline.compilers.recipe import BuildSpec, Comparison, Session


class PlusOne(nn.Module):
    """Adds one."""

    def main(self, x: nn.Tensor) -> nn.Tensor:
        """(1,) float32."""
        return x + 1.0


def build(_spec: BuildSpec) -> tuple[IRModule, dict[str, np.ndarray]]:
    """A module without parameters."""
    module, _ = PlusOne().export_tvm({"main": {"x": nn.spec.Tensor([1], "float32")}})
    return module, {}


def check(session: Session) -> Iterator[Comparison]:
    """1.5 becomes 2.5."""
    yield Comparison("1.5 + 1", session.call("main", np.array([1.5], "float32")), np.array([2.5]), 0)
