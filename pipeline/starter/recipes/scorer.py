"""A small model to start from: it gives each of a few vectors a probability for each class.

`build` is what targets.yaml names as the factory: it returns the model as TVM's IRModule and its parameters by name.
`check` compares the compiled model, run on this machine, with the same arithmetic in numpy. Options: `dtype`.
"""

from collections.abc import Iterator

import numpy as np
from tvm import IRModule
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

INPUTS, HIDDEN, CLASSES = 64, 128, 10
TOLERANCE = {"float32": 1e-5, "float16": 5e-3}


class Scorer(nn.Module):
    """Two layers with a ReLU between them, and a softmax at the end."""

    def __init__(self, dtype: str) -> None:
        self.hidden = nn.Linear(INPUTS, HIDDEN, dtype=dtype)
        self.output = nn.Linear(HIDDEN, CLASSES, dtype=dtype)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        """`x` holds one vector per row."""
        return op.softmax(self.output(op.relu(self.hidden(x))))


def build(spec: BuildSpec) -> tuple[IRModule, dict[str, np.ndarray]]:
    """Describe the model. The number of vectors, `n`, is left open: an app decides at each call."""
    dtype = spec.options["dtype"]
    module, _ = Scorer(dtype).export_tvm({"forward": {"x": nn.spec.Tensor(["n", INPUTS], dtype)}})
    return module, {name: array.astype(dtype) for name, array in parameters().items()}


def parameters() -> dict[str, np.ndarray]:
    """The model's parameters, in the order of its layers. A real recipe reads them from the files in spec.weights."""
    draw = np.random.default_rng(seed=0)
    return {
        "hidden.weight": draw.normal(0, 0.1, (HIDDEN, INPUTS)),
        "hidden.bias": draw.normal(0, 0.1, HIDDEN),
        "output.weight": draw.normal(0, 0.1, (CLASSES, HIDDEN)),
        "output.bias": draw.normal(0, 0.1, CLASSES),
    }


def check(session: Session) -> Iterator[Comparison]:
    """Call the compiled model as an app would, and do the same in numpy."""
    dtype = session.options["dtype"]
    x = np.random.default_rng(seed=1).normal(size=(3, INPUTS)).astype(dtype)
    yield Comparison("forward", session.call("forward", x), reference(x.astype("float64")), TOLERANCE[dtype])


def reference(x: np.ndarray) -> np.ndarray:
    """What `Scorer` computes, in float64."""
    hidden_weight, hidden_bias, output_weight, output_bias = parameters().values()
    hidden = np.maximum(x @ hidden_weight.T + hidden_bias, 0)
    scores = np.exp(hidden @ output_weight.T + output_bias)
    return scores / scores.sum(axis=-1, keepdims=True)
