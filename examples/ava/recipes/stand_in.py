"""A stand-in for AVA's language models: tokens in, logits of the next ones out. It is small and random.

It is there so that the layout, the proofs and the steps of `smoke.yaml` can be tried without gigabytes of weights.
Options: `seed`, so that each model has numbers of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tvm import IRModule
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

VOCABULARY, HIDDEN, INNER, TOKENS = 256, 64, 128, 16
SHAPES = {
    "embedding.weight": (VOCABULARY, HIDDEN),
    "gate.weight": (INNER, HIDDEN),
    "up.weight": (INNER, HIDDEN),
    "down.weight": (HIDDEN, INNER),
    "head.weight": (VOCABULARY, HIDDEN),
}
TOLERANCE = 1e-5


class StandIn(nn.Module):
    """An embedding, a gated layer around which a connection leads, and a head: float32."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.gate, self.up = (nn.Linear(HIDDEN, INNER, bias=False) for _ in range(2))
        self.down = nn.Linear(INNER, HIDDEN, bias=False)
        self.head = nn.Linear(HIDDEN, VOCABULARY, bias=False)

    def prefill(self, input_ids: nn.Tensor) -> nn.Tensor:
        """(1, tokens) int32 -> (1, tokens, vocabulary)."""
        x = self.embedding(input_ids)
        return self.head(x + self.down(op.silu(self.gate(x)) * self.up(x)))


def build(spec: BuildSpec) -> tuple[IRModule, dict[str, np.ndarray]]:
    """Describe the model, for a fixed number of tokens."""
    module, _ = StandIn().export_tvm({"prefill": {"input_ids": nn.spec.Tensor([1, TOKENS], "int32")}})
    return module, parameters(spec.options["seed"])


def parameters(seed: int) -> dict[str, np.ndarray]:
    """The same on every machine: the bits of PCG64 are."""
    draw = np.random.default_rng(seed)
    return {name: (draw.random(shape) - 0.5).astype("float32") / 4 for name, shape in SHAPES.items()}


def check(session: Session) -> Iterator[Comparison]:
    """Call the model as an app would, and do the same in numpy."""
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (1, TOKENS), "int32")
    wanted = reference(session.options["seed"], ids)
    yield Comparison("logits", session.call("prefill", ids), wanted, TOLERANCE)


def reference(seed: int, ids: np.ndarray) -> np.ndarray:
    """What `StandIn` computes, in float64."""
    p = {name: value.astype("float64") for name, value in parameters(seed).items()}
    x = p["embedding.weight"][ids]
    gate = x @ p["gate.weight"].T
    inner = gate / (1 + np.exp(-gate)) * (x @ p["up.weight"].T)
    return (x + inner @ p["down.weight"].T) @ p["head.weight"].T
