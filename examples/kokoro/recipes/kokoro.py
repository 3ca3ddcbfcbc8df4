"""A small network with the structure and signatures of Kokoro: text to speech in four parts of static shapes.

`text_encoder` and `duration` read the text, `f0n` gives pitch and energy of what is spread over time, `decoder` makes
the samples. Each is a model of its own with one function `main`; convolutions stand where Kokoro has them, far fewer.
The weights are random: it shows how such a pipeline is built, linked and called, and speaks no language. The sizes are
options in targets.yaml. Each check compares a part with the same arithmetic in numpy, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from tvm import IRModule
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from pipeline.compilers.recipe import BuildSpec, Comparison, Session

TOKENS, CHANNELS, UPSAMPLED, HOP = 178, 16, 2, 20
"""Kokoro's phonemes; channels of every layer; values of f0 and samples for each frame."""


class TextEncoder(nn.Module):
    """Embedding and a convolution over the text."""

    def __init__(self, style: int) -> None:  # noqa: ARG002 - every part is made in the same way
        self.embedding = nn.Embedding(TOKENS, CHANNELS)
        self.conv = nn.Conv1D(CHANNELS, CHANNELS, 3, padding=1, bias=False)

    def main(self, input_ids: nn.Tensor) -> nn.Tensor:
        """(1, text) -> (1, channels, text)."""
        return op.relu(self.conv(op.permute_dims(self.embedding(input_ids), [0, 2, 1])))


class Duration(nn.Module):
    """How long each phoneme is, in a style."""

    def __init__(self, style: int) -> None:
        self.embedding = nn.Embedding(TOKENS, CHANNELS)
        self.style = nn.Linear(style, CHANNELS, bias=False)
        self.out = nn.Linear(CHANNELS, 1, bias=False)

    def main(self, input_ids: nn.Tensor, style: nn.Tensor) -> tuple[nn.Tensor, nn.Tensor]:
        """(1, text), (1, style) -> frames of each phoneme (1, text), and features (1, text, channels)."""
        features = op.relu(self.embedding(input_ids) + op.reshape(self.style(style), (1, 1, CHANNELS)))
        return op.reshape(op.sigmoid(self.out(features)), (1, input_ids.shape[1])) * 3.0, features


class F0n(nn.Module):
    """Pitch and energy."""

    def __init__(self, style: int) -> None:
        self.style = nn.Linear(style, CHANNELS, bias=False)
        self.f0, self.n = (nn.Linear(CHANNELS, UPSAMPLED, bias=False) for _ in range(2))

    def main(self, en: nn.Tensor, style: nn.Tensor) -> tuple[nn.Tensor, nn.Tensor]:
        """(1, channels, audio), (1, style) -> (1, 2 audio) twice."""
        seen = op.permute_dims(en, [0, 2, 1]) + op.reshape(self.style(style), (1, 1, CHANNELS))
        return tuple(op.reshape(one(seen), (1, UPSAMPLED * en.shape[2])) for one in (self.f0, self.n))


class Decoder(nn.Module):
    """Samples, from what is said and how."""

    def __init__(self, style: int) -> None:
        self.style = nn.Linear(style, CHANNELS, bias=False)
        self.conv = nn.Conv1D(CHANNELS + 2 * UPSAMPLED, CHANNELS, 3, padding=1, bias=False)
        self.out = nn.Linear(CHANNELS, HOP, bias=False)

    def main(self, asr: nn.Tensor, f0: nn.Tensor, n: nn.Tensor, style: nn.Tensor) -> nn.Tensor:
        """(1, channels, audio), (1, 2 audio) twice, (1, style) -> (1, 20 audio), from -1 to 1."""
        audio = asr.shape[2]
        curves = [op.permute_dims(op.reshape(one, (1, audio, UPSAMPLED)), [0, 2, 1]) for one in (f0, n)]
        mixed = self.conv(op.concat([asr, *curves], 1)) + op.reshape(self.style(style), (1, CHANNELS, 1))
        return op.reshape(op.tanh(self.out(op.permute_dims(op.relu(mixed), [0, 2, 1]))), (1, HOP * audio))


PARTS: dict[str, type[nn.Module]] = {"text_encoder": TextEncoder, "duration": Duration, "f0n": F0n, "decoder": Decoder}


def build(spec: BuildSpec) -> tuple[IRModule, dict[str, np.ndarray]]:
    """Return the part that the model is named after."""
    text, audio, style = (spec.options[name] for name in ("static_text_len", "static_audio_len", "style_dim"))
    tensors = {
        "input_ids": nn.spec.Tensor([1, text], "int64"),
        "style": nn.spec.Tensor([1, style], "float32"),
        **dict.fromkeys(("en", "asr"), nn.spec.Tensor([1, CHANNELS, audio], "float32")),
        **dict.fromkeys(("f0", "n"), nn.spec.Tensor([1, UPSAMPLED * audio], "float32")),
    }
    arguments = {
        "text_encoder": ("input_ids",),
        "duration": ("input_ids", "style"),
        "f0n": ("en", "style"),
        "decoder": ("asr", "f0", "n", "style"),
    }[spec.model]
    module, named = PARTS[spec.model](style).export_tvm({"main": {name: tensors[name] for name in arguments}})
    shapes = {name: tuple(map(int, one.shape)) for name, one in named}
    return module, {name: weight(spec.model, name, shape) for name, shape in shapes.items()}


def weight(part: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a weight by its name."""
    draw = np.random.default_rng([*part.encode(), *name.encode()])
    return (draw.normal(size=shape) / math.sqrt(math.prod(shape[1:]))).astype("float32")


def check(session: Session) -> Iterator[Comparison]:
    """Compare the part with numpy's."""
    text, audio, style = (session.options[name] for name in ("static_text_len", "static_audio_len", "style_dim"))
    draw = np.random.default_rng(1)
    made = {
        "input_ids": draw.integers(0, TOKENS, (1, text)),
        "style": draw.normal(size=(1, style)).astype("float32"),
        "en": draw.normal(size=(1, CHANNELS, audio)).astype("float32"),
        "f0": draw.normal(size=(1, UPSAMPLED * audio)).astype("float32"),
        "n": draw.normal(size=(1, UPSAMPLED * audio)).astype("float32"),
    }
    reference, arguments = {
        "text_encoder": (text_encoder, ("input_ids",)),
        "duration": (duration, ("input_ids", "style")),
        "f0n": (f0n, ("en", "style")),
        "decoder": (decoder, ("en", "f0", "n", "style")),
    }[session.model]
    given = [made[name] for name in arguments]
    got, want = session.call("main", *given), reference(*given)
    pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
    for index, (one, two) in enumerate(pairs):
        yield Comparison(f"output {index}", one, two, 1e-5)


# The same in numpy, in float64.


def _weights(part: str) -> Callable[..., np.ndarray]:
    return lambda name, *shape: weight(part, f"{name}.weight", shape).astype("float64")


def _conv(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    return sum(np.einsum("oc,bct->bot", kernel[:, :, k], padded[:, :, k : k + x.shape[2]]) for k in range(3))


def text_encoder(ids: np.ndarray) -> np.ndarray:
    """What `TextEncoder` computes."""
    w = _weights("text_encoder")
    seen = w("embedding", TOKENS, CHANNELS)[ids].transpose(0, 2, 1)
    return np.maximum(_conv(seen, w("conv", CHANNELS, CHANNELS, 3)), 0)


def duration(ids: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `Duration` computes."""
    w = _weights("duration")
    features = w("embedding", TOKENS, CHANNELS)[ids] + style @ w("style", CHANNELS, style.shape[1]).T
    features = np.maximum(features, 0)
    return 3 / (1 + np.exp(-features @ w("out", 1, CHANNELS).T))[..., 0], features


def f0n(en: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `F0n` computes."""
    w = _weights("f0n")
    seen = en.transpose(0, 2, 1) + style @ w("style", CHANNELS, style.shape[1]).T
    f0, n = (((seen @ w(name, UPSAMPLED, CHANNELS).T).reshape(1, -1)) for name in ("f0", "n"))
    return f0, n


def decoder(asr: np.ndarray, f0: np.ndarray, n: np.ndarray, style: np.ndarray) -> np.ndarray:
    """What `Decoder` computes."""
    w = _weights("decoder")
    curves = [one.reshape(1, -1, UPSAMPLED).transpose(0, 2, 1) for one in (f0, n)]
    mixed = _conv(np.concatenate([asr, *curves], 1), w("conv", CHANNELS, CHANNELS + 2 * UPSAMPLED, 3))
    mixed = np.maximum(mixed + (style @ w("style", CHANNELS, style.shape[1]).T)[..., None], 0)
    return np.tanh(mixed.transpose(0, 2, 1) @ w("out", HOP, CHANNELS).T).reshape(1, -1)
