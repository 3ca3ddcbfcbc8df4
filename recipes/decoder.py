"""A small language model in the shape of Qwen3, with a paged KV cache and weights of four bits.

Grouped-query attention with normalised queries and keys, rotary positions, RMS norms and a gated MLP, as in Qwen3, at a
size that compiles in seconds. Its parameters are random and the same everywhere (PCG64's bits with a fixed seed), then
quantised: what it says means nothing, that every machine says the same means a lot.

Options: `quantization`, "q4f16_1" or "q4f32_1": MLC's four-bit groups, with activations in float16 or float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode, TIRPagedKVCache
from tvm.target import Target

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

REFERENCE = Path(__file__).parent / "reference" / "decoder.json"
ACTIVATIONS = {"q4f16_1": "float16", "q4f32_1": "float32"}
TOLERANCE = {"float16": 2e-2, "float32": 1e-4}
"""Largest difference allowed in a logit; the logits' typical size is 1."""

GROUP = 32
"""Weights that share a scale."""
PER_WORD = 8
"""Four-bit numbers in a uint32; number i is at bits 4*i."""
SEED = 20261120


@dataclass(frozen=True)
class Config:
    """The model's shape, in the words of Hugging Face's Qwen3Config."""

    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 768
    vocab_size: int = 2048
    rope_theta: int = 1_000_000
    rms_norm_eps: float = 1e-6


CONFIG = Config()


def quantize(weight: np.ndarray, scales: str) -> tuple[np.ndarray, np.ndarray]:
    """Quantise (out, in) to words (out, in / 8) uint32 and scales (out, in / 32) in groups along the input.

    The rounding is MLC's, bit for bit: the scale is rounded to its dtype first, then divides in that dtype.
    """
    groups = weight.astype(scales).reshape(len(weight), -1, GROUP)
    scale = (np.abs(groups.astype("float32")).max(axis=2) / 7).astype(scales)
    steps = np.round((groups / scale[..., None]).astype("float32") + 7).clip(0, 14).astype("uint32")
    shifts = 4 * np.arange(PER_WORD, dtype="uint32")
    words = (steps.reshape(len(weight), -1, PER_WORD) << shifts).sum(axis=2, dtype="uint32")
    return words, scale


def dequantize(words: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the (out, in) float32 weights that `quantize` stands for."""
    steps = (words[..., None] >> 4 * np.arange(PER_WORD, dtype="uint32") & 15).reshape(*scale.shape, GROUP)
    return ((steps.astype("float32") - 7) * scale[..., None].astype("float32")).reshape(len(words), -1)


class Quantized(nn.Module):
    """A matrix (out, in) of four-bit weights; `forward` is the dense layer, `rows` the embedding."""

    def __init__(self, out: int, inside: int, dtype: str) -> None:
        self.shape, self.dtype = (out, inside), dtype
        self.words = nn.Parameter((out, inside // PER_WORD), "uint32")
        self.scale = nn.Parameter((out, inside // GROUP), dtype)

    def _weight(self, words: te.Tensor, scale: te.Tensor, row: Any, column: Any) -> Any:
        step = (words[row, column // PER_WORD] >> (4 * (column % PER_WORD)).astype("uint32")) & tirx.const(15, "uint32")
        return (step.astype(self.dtype) - tirx.const(7, self.dtype)) * scale[row, column // GROUP]

    def forward(self, x: nn.Tensor, out_dtype: str | None = None) -> nn.Tensor:
        """(1, tokens, in) -> (1, tokens, out); sums in float32, and gives that or the activations' dtype."""

        def dense(x: te.Tensor, words: te.Tensor, scale: te.Tensor) -> te.Tensor:
            weight = te.compute(self.shape, partial(self._weight, words, scale), name="dequantize")
            k = te.reduce_axis((0, self.shape[1]), name="k")

            def product(batch: Any, token: Any, row: Any) -> Any:
                return te.sum(x[batch, token, k].astype("float32") * weight[row, k].astype("float32"), axis=k)

            return te.compute((*x.shape[:2], self.shape[0]), product, name="dense")

        product = op.tensor_expr_op(dense, "dense", [x, self.words, self.scale])
        return op.astype(product, out_dtype or self.dtype)

    def rows(self, ids: nn.Tensor) -> nn.Tensor:
        """(tokens,) int32 -> (1, tokens, in)."""

        def look_up(ids: te.Tensor, words: te.Tensor, scale: te.Tensor) -> te.Tensor:
            shape = (1, ids.shape[0], self.shape[1])
            return te.compute(shape, lambda _, token, k: self._weight(words, scale, ids[token], k), name="rows")

        return op.tensor_expr_op(look_up, "rows", [ids, self.words, self.scale])


class Block(nn.Module):
    """Attention and MLP, each on the normalised input and added to it."""

    def __init__(self, config: Config, layer: int, dtype: str) -> None:
        self.config, self.layer = config, layer
        heads = config.num_attention_heads + 2 * config.num_key_value_heads
        linear = partial(Quantized, dtype=dtype)
        norm = partial(nn.RMSNorm, axes=-1, epsilon=config.rms_norm_eps, bias=False, dtype=dtype)
        self.input_norm, self.mlp_norm = norm(config.hidden_size), norm(config.hidden_size)
        self.query_norm, self.key_norm = norm(config.head_dim), norm(config.head_dim)
        self.qkv = linear(heads * config.head_dim, config.hidden_size)
        self.output = linear(config.hidden_size, config.num_attention_heads * config.head_dim)
        self.gate_up = linear(2 * config.intermediate_size, config.hidden_size)
        self.down = linear(config.hidden_size, config.intermediate_size)

    def forward(self, x: nn.Tensor, cache: PagedKVCache) -> nn.Tensor:
        """(1, tokens, hidden) -> the same; reads and extends the cache."""
        x = x + self._attention(self.input_norm(x), cache)
        gate, up = op.split(self.gate_up(self.mlp_norm(x)), 2, axis=-1)
        return x + self.down(op.silu(gate) * up)

    def _attention(self, x: nn.Tensor, cache: PagedKVCache) -> nn.Tensor:
        config = self.config
        queries, keys, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        tokens = x.shape[1]
        qkv = op.reshape(self.qkv(x), (1, tokens, queries + 2 * keys, size))
        query, key, value = op.split(qkv, [queries, queries + keys], axis=2)
        qkv = op.concat([self.query_norm(query), self.key_norm(key), value], dim=2)
        mixed = cache.attention_with_fused_qkv(self.layer, qkv, queries, sm_scale=size**-0.5)
        return self.output(op.reshape(mixed, (1, tokens, queries * size)))


class Decoder(nn.Module):
    """The model; its methods are the functions of the library, named as MLC names them."""

    def __init__(self, config: Config, dtype: str) -> None:
        self.config, self.dtype = config, dtype
        self.embedding = Quantized(config.vocab_size, config.hidden_size, dtype)
        self.blocks = nn.ModuleList([Block(config, layer, dtype) for layer in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, -1, config.rms_norm_eps, bias=False, dtype=dtype)

    def embed(self, ids: nn.Tensor) -> nn.Tensor:
        """(tokens,) int32 -> (1, tokens, hidden)."""
        return self.embedding.rows(ids)

    def prefill(self, x: nn.Tensor, cache: PagedKVCache) -> tuple[nn.Tensor, PagedKVCache]:
        """(1, tokens, hidden) -> logits after the last token (1, 1, vocabulary) float32, and the cache."""
        x = self._run(x, cache)

        def last(x: te.Tensor) -> te.Tensor:
            return te.compute((1, 1, x.shape[2]), lambda b, _, h: x[b, x.shape[1] - 1, h], name="last")

        return self._logits(op.tensor_expr_op(last, "last", [x])), cache

    def decode(self, x: nn.Tensor, cache: PagedKVCache) -> tuple[nn.Tensor, PagedKVCache]:
        """(1, 1, hidden) -> logits (1, 1, vocabulary) float32, and the cache."""
        return self._logits(self._run(x, cache)), cache

    def create_kv_cache(
        self, batch: tirx.Var, total: tirx.Var, chunk: tirx.Var, page: tirx.Var, window: tirx.Var
    ) -> PagedKVCache:
        """Make a cache for so many sequences and tokens, filled in chunks of so many, in pages of so many."""
        config = self.config
        return TIRPagedKVCache(
            attn_kind="mha",
            max_batch_size=batch,
            max_total_seq_len=total,
            prefill_chunk_size=chunk,
            page_size=page,
            support_sliding_window=window,
            layer_partition=relax.ShapeExpr([0, config.num_hidden_layers]),
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            qk_head_dim=config.head_dim,
            v_head_dim=config.head_dim,
            mla_original_qk_head_dim=0,
            mla_original_v_head_dim=0,
            rope_mode=RopeMode.NORMAL,
            rope_scale=1,
            rope_theta=config.rope_theta,
            rope_scaling={},
            rope_ext_factors=relax.prim_value(0),
            rotary_dim=config.head_dim,
            enable_disaggregation=False,
            dtype=self.dtype,
            target=Target.current(allow_none=False),
        )

    def _run(self, x: nn.Tensor, cache: PagedKVCache) -> nn.Tensor:
        for block in self.blocks:
            x = block(x, cache)
        return self.norm(x)

    def _logits(self, x: nn.Tensor) -> nn.Tensor:
        return self.embedding(x, out_dtype="float32")


def build(spec: BuildSpec) -> tuple[Any, dict[str, Callable[[], np.ndarray]]]:
    """Return the module with `embed`, `prefill`, `decode` and `create_kv_cache`, and how to make its parameters."""
    dtype = activations(spec.options)
    model = Decoder(CONFIG, dtype)
    packed, none = ({"param_mode": mode, "effect_mode": "none"} for mode in ("packed", "none"))
    cache = nn.spec.Object(object_type=PagedKVCache)
    hidden = CONFIG.hidden_size
    module, named = model.export_tvm(
        spec={
            "embed": {"ids": nn.spec.Tensor(["tokens"], "int32"), "$": packed},
            "prefill": {"x": nn.spec.Tensor([1, "tokens", hidden], dtype), "cache": cache, "$": packed},
            "decode": {"x": nn.spec.Tensor([1, 1, hidden], dtype), "cache": cache, "$": packed},
            "create_kv_cache": {**dict.fromkeys(("batch", "total", "chunk", "page", "window"), int), "$": none},
        }
    )
    return module, {name: partial(parameter, name, tuple(value.shape), value.dtype) for name, value in named}


def activations(options: Any) -> str:
    """Return the activations' dtype that the options ask for."""
    name = options.get("quantization", "q4f16_1")
    if name not in ACTIVATIONS:
        raise ValueError(f"quantization is {name!r}; decoder knows {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def parameter(name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Make one parameter: the random weight of that name, quantised where it is a matrix."""
    # Rounded to float16 in both variants, so that they stand for the same weights.
    owner, _, part = name.rpartition(".")
    if part == "weight":
        return weight(name, shape).astype("float16").astype(dtype)
    inside = shape[1] * (PER_WORD if part == "words" else GROUP)
    words, scale = quantize(weight(owner, (shape[0], inside)), "float16")
    return words if part == "words" else scale.astype(dtype)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a weight by its name: matrices keep the size of what they multiply, norms are near 1.

    numpy promises the raw bits of PCG64 for ever, but not what its distributions make of them.
    """
    bits = np.random.PCG64([SEED, *name.encode()]).random_raw(math.prod(shape)).reshape(shape)
    uniform = (bits >> np.uint64(11)).astype("float64") / 2**52 - 1
    return (1 + 0.2 * uniform if len(shape) == 1 else uniform * math.sqrt(3 / shape[1])).astype("float32")


def check(session: Session) -> Iterator[Comparison]:
    """Compare the logits of a prompt and of the tokens after it with transformers' (`reference/make_decoder.py`)."""
    tolerance = TOLERANCE[activations(session.options)]
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    cache = session.call("create_kv_cache", (1,), (64,), (32,), (16,), (0,))
    session.runtime("vm.builtin.kv_state_add_sequence", cache, 0)
    for step in reference["steps"]:
        ids = np.array(step["ids"], "int32")
        session.runtime("vm.builtin.kv_state_begin_forward", cache, (0,), (len(ids),))
        logits, _ = session.call("prefill" if len(ids) > 1 else "decode", session.call("embed", ids), cache)
        session.runtime("vm.builtin.kv_state_end_forward", cache)
        got = logits[0, 0]
        yield Comparison(f"{step['name']}: logits", got[reference["columns"]], step["logits"], tolerance)
        yield Comparison(f"{step['name']}: most likely token", np.argmax(got), step["most_likely"], 0)
