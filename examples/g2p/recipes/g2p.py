"""A small network with the structure and signatures of charsiu/g2p_multilingual_byT5: bytes to phonemes.

It is a T5 over bytes (more encoder than decoder layers, RMS norms, no biases, attention that is not scaled), compiled
as the three parts of a decoder with a cache: `encoder`, `decoder_prefill` and `decoder_step`, each a model of its own
with one function `main`. Its weights are random: it shows how parts are built, linked and called, and pronounces
nothing. Each check compares a part with the same arithmetic in numpy, in float64. Sizes are options in targets.yaml.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from tvm import IRModule, te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

VOCABULARY, HIDDEN, HEADS, SIZE, INNER = 384, 32, 4, 8, 64
ENCODER_LAYERS, DECODER_LAYERS = 3, 1
ATTENTION = ("query", "key", "value", "output")


class Attention(nn.Module):
    """Multi-head attention; keys and values may come from before."""

    def __init__(self) -> None:
        for name in ATTENTION:
            setattr(self, name, nn.Linear(HIDDEN, HIDDEN, bias=False))

    def split(self, x: nn.Tensor) -> nn.Tensor:
        """(1, tokens, hidden) -> (1, heads, tokens, size)."""
        return op.permute_dims(op.reshape(x, (1, x.shape[1], HEADS, SIZE)), [0, 2, 1, 3])

    def attend(self, x: nn.Tensor, key: nn.Tensor, value: nn.Tensor, bias: nn.Tensor) -> nn.Tensor:
        """`bias` (1, 1, 1, keys) is added to the scores."""
        scores = op.matmul(self.split(self.query(x)), op.permute_dims(key, [0, 1, 3, 2])) + bias
        mixed = op.permute_dims(op.matmul(op.softmax(scores, -1), value), [0, 2, 1, 3])
        return self.output(op.reshape(mixed, (1, x.shape[1], HIDDEN)))


def norm() -> nn.RMSNorm:
    """T5's normalisation."""
    return nn.RMSNorm(HIDDEN, -1, 1e-6, bias=False)


class FeedForward(nn.Module):
    """Two dense layers with a ReLU between them."""

    def __init__(self) -> None:
        self.norm, self.inner, self.outer = (
            norm(),
            *(nn.Linear(*d, bias=False) for d in ((HIDDEN, INNER), (INNER, HIDDEN))),
        )

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        """(1, tokens, hidden)."""
        return x + self.outer(op.relu(self.inner(self.norm(x))))


class EncoderLayer(nn.Module):
    """Attention over all bytes that the mask shows."""

    def __init__(self) -> None:
        self.norm, self.attention, self.feed = norm(), Attention(), FeedForward()

    def forward(self, x: nn.Tensor, bias: nn.Tensor) -> nn.Tensor:
        """(1, bytes, hidden), and what hides padding."""
        seen = self.norm(x)
        key, value = (self.attention.split(one(seen)) for one in (self.attention.key, self.attention.value))
        return self.feed(x + self.attention.attend(seen, key, value, bias))


class DecoderLayer(nn.Module):
    """Attention over what was said, then over the word."""

    def __init__(self) -> None:
        self.norm, self.attention = norm(), Attention()
        self.cross_norm, self.cross = norm(), Attention()
        self.feed = FeedForward()


class Model(nn.Module):
    """All weights; every part has its own of them."""

    def __init__(self, part: str) -> None:
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        if part == "encoder":
            self.encoder = nn.ModuleList([EncoderLayer() for _ in range(ENCODER_LAYERS)])
        else:
            self.decoder = nn.ModuleList([DecoderLayer() for _ in range(DECODER_LAYERS)])
            self.head = nn.Linear(HIDDEN, VOCABULARY, bias=False)
        self.last_norm = norm()


def hide(mask: nn.Tensor) -> nn.Tensor:
    """(1, tokens) int64, 1 where something is -> what to add to scores, (1, 1, 1, tokens)."""

    def bias(mask: te.Tensor) -> te.Tensor:
        none, far = (tirx.const(number, "float32") for number in (0.0, -1e9))
        shape = (1, 1, 1, mask.shape[1])
        return te.compute(shape, lambda b, _h, _q, token: tirx.Select(mask[b, token] == 0, far, none), name="bias")

    return op.tensor_expr_op(bias, "bias", [mask])


class Encoder(Model):
    """The part that reads the word."""

    def main(self, input_ids: nn.Tensor, attention_mask: nn.Tensor) -> nn.Tensor:
        """(1, bytes) twice -> (1, bytes, hidden)."""
        x, bias = self.embedding(input_ids), hide(attention_mask)
        for layer in self.encoder:
            x = layer(x, bias)
        return self.last_norm(x)


class Decoder(Model):
    """The part that speaks. Its caches hold keys and values, (1, heads, tokens, size), of its one layer."""

    def speak(self, ids: nn.Tensor, cross: tuple, past: tuple, position: nn.Tensor, mask: nn.Tensor) -> tuple:
        """One token, with keys and values of the word and of what was said before."""
        layer = self.decoder[0]
        x = self.embedding(ids)
        seen = layer.norm(x)
        fresh = [layer.attention.split(one(seen)) for one in (layer.attention.key, layer.attention.value)]
        past = tuple(_put(old, new, position) for old, new in zip(past, fresh, strict=True))
        x = x + layer.attention.attend(seen, *past, _until(position, past[0].shape[2]))
        x = layer.feed(x + layer.cross.attend(layer.cross_norm(x), *cross, hide(mask)))
        return self.head(self.last_norm(x)), *past


class Prefill(Decoder):
    """The first token, which also makes the caches."""

    def __init__(self, length: int) -> None:
        super().__init__("decoder")
        self.length = length

    def main(self, decoder_input_ids: nn.Tensor, encoder_hidden_states: nn.Tensor, attention_mask: nn.Tensor) -> tuple:
        """-> logits (1, 1, vocabulary), keys and values of the word, keys and values of what was said."""
        cross = self.decoder[0].cross
        of_word = tuple(cross.split(one(encoder_hidden_states)) for one in (cross.key, cross.value))
        empty = op.zeros((1, HEADS, self.length, SIZE), "float32")
        start = op.zeros((1,), "int64")
        logits, *past = self.speak(decoder_input_ids, of_word, (empty, empty), start, attention_mask)
        return logits, *of_word, *past


class Step(Decoder):
    """Every token after the first."""

    def __init__(self) -> None:
        super().__init__("decoder")

    def main(  # noqa: PLR0917 - a signature of the model
        self,
        decoder_input_ids: nn.Tensor,
        position: nn.Tensor,
        attention_mask: nn.Tensor,
        cross_key: nn.Tensor,
        cross_value: nn.Tensor,
        past_key: nn.Tensor,
        past_value: nn.Tensor,
    ) -> tuple:
        """-> logits, keys and values of what was said, now with this token."""
        return self.speak(decoder_input_ids, (cross_key, cross_value), (past_key, past_value), position, attention_mask)


def _put(past: nn.Tensor, fresh: nn.Tensor, position: nn.Tensor) -> nn.Tensor:
    def put(past: te.Tensor, fresh: te.Tensor, at: te.Tensor) -> te.Tensor:
        return te.compute(
            past.shape, lambda b, h, t, s: tirx.Select(at[0] == t, fresh[b, h, 0, s], past[b, h, t, s]), name="put"
        )

    return op.tensor_expr_op(put, "put", [past, fresh, position])


def _until(position: nn.Tensor, length: int) -> nn.Tensor:
    def until(at: te.Tensor) -> te.Tensor:
        none, far = (tirx.const(number, "float32") for number in (0.0, -1e9))
        return te.compute((1, 1, 1, length), lambda _b, _h, _q, t: tirx.Select(t <= at[0], none, far), name="until")

    return op.tensor_expr_op(until, "until", [position])


def build(spec: BuildSpec) -> tuple[IRModule, dict[str, np.ndarray]]:
    """Return the part that the model is named after."""
    word, said = spec.options["max_input_bytes"], spec.options["max_output_len"]
    ids, mask = nn.spec.Tensor([1, 1], "int64"), nn.spec.Tensor([1, word], "int64")
    of_word, of_said = (nn.spec.Tensor([1, HEADS, length, SIZE], "float32") for length in (word, said))
    hidden = nn.spec.Tensor([1, word, HIDDEN], "float32")
    parts = {
        "encoder": (lambda: Encoder("encoder"), {"input_ids": mask, "attention_mask": mask}),
        "decoder_prefill": (
            lambda: Prefill(said),
            {"decoder_input_ids": ids, "encoder_hidden_states": hidden, "attention_mask": mask},
        ),
        "decoder_step": (
            Step,
            {"decoder_input_ids": ids, "position": nn.spec.Tensor([1], "int64"), "attention_mask": mask}
            | dict.fromkeys(("cross_key", "cross_value"), of_word)
            | dict.fromkeys(("past_key", "past_value"), of_said),
        ),
    }
    make, arguments = parts[spec.model]
    module, named = make().export_tvm({"main": arguments})
    return module, {name: weight(name, tuple(map(int, one.shape))) for name, one in named}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a weight by its name, so that parts agree about it; norms are near 1."""
    draw = np.random.default_rng([0, *name.encode()])
    if len(shape) == 1:
        return draw.uniform(0.8, 1.2, shape).astype("float32")
    return (draw.normal(size=shape) / math.sqrt(shape[-1])).astype("float32")


# The same in numpy.


def check(session: Session) -> Iterator[Comparison]:
    """Compare the part with numpy's, on a word and on what two steps would have left."""
    word, said = session.options["max_input_bytes"], session.options["max_output_len"]
    ids = np.zeros((1, word), "int64")
    ids[0, :3] = np.frombuffer(b"cat", "uint8") + 3
    mask = (ids > 0).astype("int64")
    hidden = encoder_in_numpy(ids, mask)
    prefill = decoder_in_numpy(np.array([[0]]), hidden, mask, 0, *np.zeros((2, 1, HEADS, said, SIZE)))
    if session.model == "encoder":
        yield Comparison("hidden states", session.call("main", ids, mask), hidden, 1e-4)
    elif session.model == "decoder_prefill":
        got = session.call("main", np.array([[0]]), hidden.astype("float32"), mask)
        yield from (
            Comparison(f"output {i}", one, want, 1e-4) for i, (one, want) in enumerate(zip(got, prefill, strict=True))
        )
    else:
        _, *caches = (one.astype("float32") for one in prefill)
        token = np.array([[77]])
        want, _, _, *past = decoder_in_numpy(token, hidden, mask, 1, *prefill[3:])
        got = session.call("main", token, np.array([1]), mask, *caches)
        yield from (
            Comparison(f"output {i}", one, two, 1e-4)
            for i, (one, two) in enumerate(zip(got, (want, *past), strict=True))
        )


def _w(name: str, *shape: int) -> np.ndarray:
    return weight(f"{name}.weight", shape or (HIDDEN, HIDDEN)).astype("float64")


def _norm(x: np.ndarray, name: str) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * _w(name, HIDDEN)


def _split(x: np.ndarray) -> np.ndarray:
    return x.reshape(1, -1, HEADS, SIZE).transpose(0, 2, 1, 3)


def _attend(x: np.ndarray, name: str, key: np.ndarray, value: np.ndarray, visible: np.ndarray) -> np.ndarray:
    scores = _split(x @ _w(f"{name}.query").T) @ key.transpose(0, 1, 3, 2)
    scores = np.where(visible, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    mixed = (scores / scores.sum(-1, keepdims=True) @ value).transpose(0, 2, 1, 3)
    return mixed.reshape(1, -1, HIDDEN) @ _w(f"{name}.output").T


def _feed(x: np.ndarray, name: str) -> np.ndarray:
    inner = np.maximum(_norm(x, f"{name}.norm") @ _w(f"{name}.inner", INNER, HIDDEN).T, 0)
    return x + inner @ _w(f"{name}.outer", HIDDEN, INNER).T


def encoder_in_numpy(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What `Encoder` computes, in float64."""
    x = _w("embedding", VOCABULARY, HIDDEN)[ids]
    for layer in range(ENCODER_LAYERS):
        name = f"encoder.{layer}"
        seen = _norm(x, f"{name}.norm")
        key, value = (_split(seen @ _w(f"{name}.attention.{one}").T) for one in ("key", "value"))
        x = _feed(x + _attend(seen, f"{name}.attention", key, value, mask == 1), f"{name}.feed")
    return _norm(x, "last_norm")


def decoder_in_numpy(
    token: np.ndarray, hidden: np.ndarray, mask: np.ndarray, position: int, *past: np.ndarray
) -> tuple[np.ndarray, ...]:
    """What `Decoder` computes, in float64: logits, caches of the word, caches of what was said."""
    name, x = "decoder.0", _w("embedding", VOCABULARY, HIDDEN)[token]
    seen = _norm(x, f"{name}.norm")
    key, value = (one.copy() for one in past)
    for one, cache in (("key", key), ("value", value)):
        cache[:, :, position] = _split(seen @ _w(f"{name}.attention.{one}").T)[:, :, 0]
    x = x + _attend(seen, f"{name}.attention", key, value, np.arange(key.shape[2]) <= position)
    cross = [_split(hidden @ _w(f"{name}.cross.{one}").T) for one in ("key", "value")]
    x = x + _attend(_norm(x, f"{name}.cross_norm"), f"{name}.cross", *cross, mask == 1)
    x = _norm(_feed(x, f"{name}.feed"), "last_norm")
    return (x @ _w("head", VOCABULARY, HIDDEN).T, *cross, key, value)
