"""The recipes of the default matrix: they compile everywhere, give the reference's numbers, and their checks bite."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from compiled_models import Compiled, host_triple, link, load, model

from pipeline.compilers import tensor_cache

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

RECIPES = Path(__file__).parents[2] / "recipes"
DEVICES = {
    "metal": ("arm64-apple-ios14.0", {"kind": "metal"}),
    "opencl": ("aarch64-linux-android", {"kind": "opencl"}),
    "adreno": ("aarch64-linux-android", {"kind": "opencl", "device": "adreno"}),
    "mali": ("aarch64-linux-android", {"kind": "opencl", "device": "mali"}),
    "webgpu": ("wasm32-unknown-unknown-wasm", {"kind": "webgpu"}),
    "wasm": ("wasm32-unknown-unknown-wasm", {"kind": "llvm"}),
}


# MiniLM, with small random weights in the published names, against BERT written in numpy

CONFIG = {
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 24,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": 50,
}

MINILM_CHECK = """
import json
import numpy as np
from pathlib import Path
from pipeline.compilers.recipe import Comparison
def check(session):
    for case in json.loads((Path(__file__).parent / "cases.json").read_text()):
        ids, mask = (np.array([case[key]], "int32") for key in ("ids", "mask"))
        yield Comparison("embedding", session.call("embed", ids, mask)[0], case["want"], case["atol"])
"""


def random_bert(folder: Path) -> dict[str, np.ndarray]:
    numpy_format = pytest.importorskip("safetensors.numpy")
    made = np.random.Generator(np.random.PCG64(3))
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes = {f"embeddings.{name}_embeddings.weight": (CONFIG[size], hidden) for name, size in TABLES.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        dense = {f"attention.self.{name}": (hidden, hidden) for name in ("query", "key", "value")}
        dense |= {"attention.output.dense": (hidden, hidden), "intermediate.dense": (inner, hidden)}
        for name, shape in {**dense, "output.dense": (hidden, inner)}.items():
            shapes |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    tensors = {name: made.uniform(-0.5, 0.5, shape).astype("float32") for name, shape in shapes.items()}
    for name in norms:
        tensors[f"{name}.weight"] = made.uniform(0.5, 1.5, hidden).astype("float32")
        tensors[f"{name}.bias"] = made.uniform(-0.5, 0.5, hidden).astype("float32")
    folder.mkdir()
    numpy_format.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return tensors


TABLES = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}


def bert_in_numpy(tensors, ids, mask):
    """Sentence embedding in float64: the equations of the paper, written down once more."""
    heads = CONFIG["num_attention_heads"]
    erf = np.vectorize(math.erf)

    def dense(x, name):
        return x @ tensors[f"{name}.weight"].astype("float64").T + tensors[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + CONFIG["layer_norm_eps"])
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    word, position, kind = (tensors[f"embeddings.{name}_embeddings.weight"].astype("float64") for name in TABLES)
    x = norm(word[ids] + position[: len(ids)] + kind[0], "embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        parts = [dense(x, f"{at}.attention.self.{name}") for name in ("query", "key", "value")]
        query, key, value = (part.reshape(len(ids), heads, -1).transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        scores = np.where(np.array(mask) == 1, np.exp(scores - scores.max(-1, keepdims=True)), 0)
        mixed = (scores / scores.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(dense(mixed, f"{at}.attention.output.dense") + x, f"{at}.attention.output.LayerNorm")
        inner = dense(x, f"{at}.intermediate.dense")
        x = norm(dense(inner * (1 + erf(inner / math.sqrt(2))) / 2, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
    mean = x[np.array(mask) == 1].mean(0)
    return mean / np.linalg.norm(mean)


@pytest.fixture
def minilm(tmp_path):
    tensors = random_bert(tmp_path / "weights")

    def make(dtype):
        described = model("minilm", f"f{dtype[5:]}", {"dtype": dtype})
        return Compiled(
            tmp_path, RECIPES / "minilm.py", described, weights=tmp_path / "weights", reads=[tmp_path / "cases.json"]
        ), tensors

    return make


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-6), ("float16", 3e-3)])
def test_minilm_is_a_bert(tmp_path, minilm, dtype, atol):
    compiled, tensors = minilm(dtype)
    cases = []
    for ids, padding in (([1], 0), ([5, 3, 49, 0, 5, 7, 20], 0), ([7, 8, 9], 4), (list(range(24)), 0)):
        given, mask = ids + [0] * padding, [1] * len(ids) + [0] * padding
        want = bert_in_numpy(tensors, given, mask)
        cases.append({"ids": given, "mask": mask, "want": want.tolist(), "atol": atol})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "check.py").write_text(MINILM_CHECK)
    objects = compiled.compile(host_triple(), config=only_config(tmp_path))
    results = compiled.check(link(objects), objects, compiled.parameters(), recipe=tmp_path / "check.py")
    assert [result.passed for result in results] == [True] * 4
    # The reference is not the zero vector, and the four sentences are not one.
    assert np.ptp([case["want"] for case in cases], axis=0).max() > 100 * atol


def decoder_of(folder: Path, quantization: str) -> Compiled:
    described = model("decoder", quantization, {"quantization": quantization})
    return Compiled(folder, RECIPES / "decoder.py", described, reads=[RECIPES / "reference"])


def only_config(folder: Path) -> Path:
    config = folder / "config"
    config.mkdir()
    (config / "config.json").symlink_to(folder / "weights" / "config.json")
    return config


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_minilm_compiles_for(tmp_path, minilm, dtype, device):
    compiled, _ = minilm(dtype)
    triple, target = DEVICES[device]
    compiled.compile(triple, config=only_config(tmp_path), **target)
    assert compiled.facts["functions"] == 1


def test_minilms_reference_is_of_unit_vectors():
    reference = json.loads((RECIPES / "reference" / "minilm.json").read_text())
    assert set(reference["versions"]) == {"numpy", "python", "torch", "transformers"}
    vectors = np.array([sentence["embedding"] for sentence in reference["sentences"]])
    assert vectors.shape == (4, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    # The first two sentences mean the like, the third does not.
    assert vectors[0] @ vectors[1] > 0.4
    assert vectors[0] @ vectors[2] < 0.2


# The decoder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory, warm):
    """The decoder with float32 activations: the same code, ten times faster on a CPU without float16."""
    folder = tmp_path_factory.mktemp("decoder")
    compiled = decoder_of(folder, "q4f32_1")
    objects = compiled.compile(host_triple())
    return compiled, objects, link(objects), compiled.parameters()


def test_the_decoder_gives_the_references_logits(decoder):
    compiled, objects, library, parameters = decoder
    results = compiled.check(library, objects, parameters)
    assert len(results) == 18
    assert all(result.passed for result in results)
    assert max(result.max_abs_error for result in results) < 1e-4


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blocks.3.down.words", lambda words: words ^ np.where(np.arange(words.size) == 5, 8, 0).reshape(words.shape)),
        ("blocks.0.query_norm.weight", lambda weight: weight[::-1]),
        ("blocks.1.qkv.scale", lambda scale: scale * np.float32(1.01)),
        ("embedding.words", lambda words: words[::-1]),
        ("norm.weight", lambda weight: weight + np.float32(1e-3)),
    ],
)
def test_a_changed_weight_fails_the_decoders_check(decoder, tmp_path, name, change):
    compiled, objects, library, parameters = decoder
    held = dict(tensor_cache.read(parameters))
    held[name] = change(held[name]).astype(held[name].dtype)
    assert held[name].shape == tensor_cache.read(parameters)[name].shape
    tensor_cache.write(held.items(), tmp_path)
    assert not all(result.passed for result in compiled.check(library, objects, tmp_path))


@pytest.mark.slow
def test_the_decoder_in_float16_is_near_and_its_check_bites(tmp_path):
    compiled = decoder_of(tmp_path, "q4f16_1")
    objects = compiled.compile(host_triple())
    library, parameters = link(objects), compiled.parameters()
    right = compiled.check(library, objects, parameters)
    assert all(result.passed for result in right)
    held = dict(tensor_cache.read(parameters))
    held["blocks.2.output.scale"] = held["blocks.2.output.scale"] * np.float16(1.1)
    (tmp_path / "wrong").mkdir()
    tensor_cache.write(held.items(), tmp_path / "wrong")
    wrong = compiled.check(library, objects, tmp_path / "wrong")
    assert not all(result.passed for result in wrong)


@pytest.mark.slow
@pytest.mark.parametrize("device", [device for device in DEVICES if device != "wasm"])
def test_the_decoder_compiles_for(tmp_path, device):
    compiled = decoder_of(tmp_path, "q4f16_1")
    triple, target = DEVICES[device]
    out = compiled.compile(triple, **target)
    functions = [function["name"] for function in json.loads((out / "functions.json").read_text())["functions"]]
    assert functions == ["create_kv_cache", "decode", "embed", "prefill"]


def test_the_reference_was_made_with_these_weights(tmp_path):
    compiled = decoder_of(tmp_path, "q4f16_1")
    reference = json.loads((RECIPES / "reference" / "decoder.json").read_text())
    shards = compiled.parameters().glob("*.bin")
    assert {shard.name: hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards} == reference["weights"]


def test_quantising_is_undone_within_half_a_step(warm):
    quantize, dequantize, weight = (load(RECIPES / "decoder.py", name) for name in ("quantize", "dequantize", "weight"))
    given = weight("any", (48, 96))
    words, scale = quantize(given, "float16")
    assert (words.dtype, words.shape, scale.dtype, scale.shape) == (np.uint32, (48, 12), np.float16, (48, 3))
    step = np.repeat(scale.astype("float32"), 32, axis=1)
    assert (np.abs(dequantize(words, scale) - given) <= 0.51 * step).all()
    # Element i of a word is at bits 4*i, and 7 stands for zero.
    assert dequantize(np.full((1, 4), 0x77777777, "uint32"), np.ones((1, 1), "float16")).tolist() == [[0.0] * 32]
    first = dequantize(np.array([[0x7777777E, 0x0, 0x0, 0x0]], "uint32"), np.ones((1, 1), "float16"))
    assert first[0, :9].tolist() == [7, 0, 0, 0, 0, 0, 0, 0, -7]


def test_random_weights_are_the_same_everywhere(warm):
    weight = load(RECIPES / "decoder.py", "weight")
    assert weight("embedding", (2048, 256))[0, :3].tolist() == pytest.approx(EMBEDDING, abs=0)
    assert weight("norm", (256,))[:2].tolist() == pytest.approx(NORM, abs=0)


EMBEDDING = [-0.019093824550509453, -0.025020547211170197, -0.006559103727340698]
NORM = [0.931233286857605, 1.1567118167877197]
