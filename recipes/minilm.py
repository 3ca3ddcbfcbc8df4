"""MiniLM-L6: a sentence becomes a vector of 384 numbers of length 1.

The encoder is a BERT of six layers, written out in `tvm.relax.frontend.nn`, followed by the mean over the tokens and
the division by the length. Its weights are the published ones (`model.safetensors`). Token ids and mask are int32,
and positions are never a tensor, because WebGPU has no 64-bit integers.

Options: `dtype`, "float32" or "float16".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

REFERENCE = Path(__file__).parent / "reference" / "minilm.json"
TOLERANCE = {"float32": 1e-6, "float16": 1e-3}
"""Largest difference allowed in any of the 384 numbers, whose typical size is 0.05."""

PUBLISHED = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
"""Parts of `Layer` by their names in the published file."""


@dataclass(frozen=True)
class Config:
    """The numbers of BERT's config.json that this recipe reads."""

    hidden: int
    heads: int
    layers: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read Hugging Face's config.json."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["hidden_act"] != "gelu" or raw["position_embedding_type"] != "absolute":
            raise ValueError(f"{path} is not a BERT with gelu and absolute positions")
        return cls(
            hidden=raw["hidden_size"],
            heads=raw["num_attention_heads"],
            layers=raw["num_hidden_layers"],
            intermediate=raw["intermediate_size"],
            vocabulary=raw["vocab_size"],
            positions=raw["max_position_embeddings"],
            types=raw["type_vocab_size"],
            epsilon=raw["layer_norm_eps"],
        )


class Embeddings(nn.Module):
    """Sum of the word's, the position's and the first segment's vectors, normalised."""

    def __init__(self, config: Config, dtype: str) -> None:
        self.word_embeddings = nn.Embedding(config.vocabulary, config.hidden, dtype)
        self.position_embeddings = nn.Embedding(config.positions, config.hidden, dtype)
        self.token_type_embeddings = nn.Embedding(config.types, config.hidden, dtype)
        self.layer_norm = nn.LayerNorm(config.hidden, eps=config.epsilon, dtype=dtype)

    def forward(self, ids: nn.Tensor) -> nn.Tensor:
        """(1, tokens) int32 -> (1, tokens, hidden)."""

        def look_up(ids: te.Tensor, words: te.Tensor, positions: te.Tensor, types: te.Tensor) -> te.Tensor:
            return te.compute(
                (1, ids.shape[1], words.shape[1]),
                lambda b, token, h: words[ids[b, token], h] + positions[token, h] + types[0, h],
                name="embeddings",
            )

        tables = (self.word_embeddings, self.position_embeddings, self.token_type_embeddings)
        weights = [table.weight for table in tables]
        return self.layer_norm(op.tensor_expr_op(look_up, "embeddings", [ids, *weights]))


def matmul(left: nn.Tensor, right: nn.Tensor) -> nn.Tensor:
    """Matrix product that sums in float32 whatever the operands are, and rounds once."""
    return op.astype(op.matmul(left, right, out_dtype="float32"), left.dtype)


class Dense(nn.Linear):
    """A dense layer with that product."""

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        """(..., in) -> (..., out)."""
        return matmul(x, op.permute_dims(self.weight)) + self.bias


class Layer(nn.Module):
    """Self-attention and the two dense layers after it, each added to its input and normalised."""

    def __init__(self, config: Config, dtype: str) -> None:
        self.heads = config.heads
        dense = partial(Dense, dtype=dtype)
        norm = partial(nn.LayerNorm, config.hidden, eps=config.epsilon, dtype=dtype)
        self.query, self.key, self.value = (dense(config.hidden, config.hidden) for _ in range(3))
        self.attention_output = dense(config.hidden, config.hidden)
        self.attention_norm = norm()
        self.intermediate = dense(config.hidden, config.intermediate)
        self.output = dense(config.intermediate, config.hidden)
        self.output_norm = norm()

    def forward(self, hidden: nn.Tensor, bias: nn.Tensor) -> nn.Tensor:
        """(1, tokens, hidden) and what to add to the scores, (1, 1, 1, tokens) -> (1, tokens, hidden)."""
        _, tokens, width = hidden.shape
        size = width // self.heads

        def split(x: nn.Tensor) -> nn.Tensor:
            return op.permute_dims(op.reshape(x, (1, tokens, self.heads, size)), [0, 2, 1, 3])

        query, key, value = split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden))
        scores = matmul(query, op.permute_dims(key, [0, 1, 3, 2])) * (size**-0.5) + bias
        mixed = matmul(op.softmax(scores, axis=-1), value)
        joined = op.reshape(op.permute_dims(mixed, [0, 2, 1, 3]), (1, tokens, width))
        hidden = self.attention_norm(self.attention_output(joined) + hidden)
        return self.output_norm(self.output(op.gelu(self.intermediate(hidden))) + hidden)


class Encoder(nn.Module):
    """Token ids and mask to a sentence embedding."""

    def __init__(self, config: Config, dtype: str) -> None:
        self.embeddings = Embeddings(config, dtype)
        self.layers = nn.ModuleList([Layer(config, dtype) for _ in range(config.layers)])
        self.dtype = dtype

    def embed(self, ids: nn.Tensor, mask: nn.Tensor) -> nn.Tensor:
        """(1, tokens) and (1, tokens), both int32, the mask 1 where there is a token -> (1, hidden) float32."""

        def bias(mask: te.Tensor) -> te.Tensor:
            hidden = tirx.const(-1e4, self.dtype)  # exp() of it is 0 in float16 and float32 alike
            zero = tirx.const(0, self.dtype)

            def choose(batch: Any, _head: Any, _query: Any, token: Any) -> Any:
                return tirx.Select(mask[batch, token] == 0, hidden, zero)

            return te.compute((1, 1, 1, mask.shape[1]), choose, name="bias")

        added = op.tensor_expr_op(bias, "bias", [mask])
        hidden = self.embeddings(ids)
        for layer in self.layers:
            hidden = layer(hidden, added)
        # Not a matmul: dlight's rule for Android cannot schedule one that reduces over an unknown length.
        counted = op.reshape(op.astype(mask, "float32"), (1, mask.shape[1], 1))
        total = op.sum(op.astype(hidden, "float32") * counted, axis=1)
        return total / op.sqrt(op.sum(total * total, axis=-1, keepdims=True))


def build(spec: BuildSpec) -> tuple[Any, dict[str, Callable[[], np.ndarray]]]:
    """Return the module with one function, `embed`, and how to read its parameters."""
    if spec.weights is None:
        raise ValueError("minilm needs `weights`: a directory with config.json and model.safetensors")
    dtype = spec.options.get("dtype", "float32")
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype is {dtype!r}; minilm knows {', '.join(TOLERANCE)}")
    model = Encoder(Config.read(spec.weights / "config.json"), dtype)
    sequence = nn.spec.Tensor([1, "tokens"], "int32")
    modes = {"param_mode": "packed", "effect_mode": "none"}
    module, named = model.export_tvm(spec={"embed": {"ids": sequence, "mask": sequence, "$": modes}})
    file = spec.weights / "model.safetensors"
    return module, {name: partial(_tensor, file, published_name(name), dtype) for name, _ in named}


def published_name(name: str) -> str:
    """Return BERT's own name for a parameter of `Encoder`."""
    scope, *rest = name.split(".")
    if scope == "embeddings":
        return name.replace("layer_norm", "LayerNorm")
    index, part, kind = rest
    return f"encoder.layer.{index}.{PUBLISHED[part]}.{kind}"


def check(session: Session) -> Iterator[Comparison]:
    """Compare sentence embeddings with those of transformers' BertModel (`reference/make_minilm.py`)."""
    tolerance = TOLERANCE[session.options.get("dtype", "float32")]
    for sentence in json.loads(REFERENCE.read_text(encoding="utf-8"))["sentences"]:
        ids, mask = (np.array([sentence[key]], "int32") for key in ("ids", "mask"))
        yield Comparison(sentence["text"], session.call("embed", ids, mask)[0], sentence["embedding"], tolerance)


def _tensor(file: Path, name: str, dtype: str) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return tensors.get_tensor(name).astype(dtype)
