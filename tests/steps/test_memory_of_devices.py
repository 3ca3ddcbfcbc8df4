"""The steps `memory` and `device`: what a cell takes, and that a device holds it."""

from __future__ import annotations

import json

import pytest

from pipeline.action import Job
from pipeline.documents.codec import dumps
from pipeline.documents.functions import Function, Functions, Value
from pipeline.documents.memory import Memory, Need, Option, choose
from pipeline.documents.parameters import Parameter, Parameters
from pipeline.errors import StepError, VerifyError
from pipeline.steps import device, memory

METADATA = {
    "model_type": "qwen3", "quantization": "q4f16_1", "context_window_size": 64, "sliding_window_size": -1,
    "params": [{"name": "w", "shape": [10, 2], "dtype": "float16"}], "memory_usage": {"prefill": 1000, "decode": 7},
}  # fmt: skip
CHAT = {"model_config": {"num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 3}}


@pytest.fixture
def measured(tmp_path):
    """Run `memory` on folders of inputs; return the document."""
    count = iter(range(99))

    def run(inputs, *, relax=False):
        out = tmp_path / f"out{next(count)}"
        out.mkdir()
        job = Job(memory.Params("m-q4", "m", relax), inputs, {}, out, tmp_path / "log", None)
        facts = memory.run(job)
        found = Memory.read(out)
        assert facts == {name: getattr(found, name) for name in ("parameters", "temporary", "cache", "at_least")}
        return found

    return run


def library(folder, metadata):
    folder.mkdir(exist_ok=True)
    (folder / "m_devc.o").write_bytes(b"\0code" + json.dumps(metadata).encode() + b"\0")
    return folder


def test_a_library_of_mlc_llm_and_its_config(measured, tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "mlc-chat-config.json").write_text(json.dumps(CHAT))
    found = measured({"objects": library(tmp_path / "o", METADATA), "config": config})
    assert found == Memory(parameters=40, temporary=1000, cache=2 * 2 * (1 * 2 * 3) * 64)


def test_without_a_config_the_cache_is_not_known(measured, tmp_path):
    assert measured({"objects": library(tmp_path / "o", METADATA)}) == Memory(40, 1000, 0, at_least=True)


def test_a_library_that_says_nothing(measured, tmp_path):
    assert measured({"objects": library(tmp_path / "o", {"no": "metadata"})}) == Memory(0, 0, 0, at_least=True)


def test_a_library_of_a_stranger_that_says_nonsense(measured, tmp_path):
    broken = {**METADATA, "params": [{"name": "w", "shape": 5, "dtype": "float16"}]}
    with pytest.raises(StepError, match="in a way that is not known here"):
        measured({"objects": library(tmp_path / "o", broken)})


@pytest.fixture
def relax(tmp_path):
    """Inputs of a model of Relax: arguments of its functions, and what each allocates."""

    def make(plans, **functions):
        objects, params = tmp_path / "o", tmp_path / "p"
        objects.mkdir()
        params.mkdir()
        (objects / "m_devc.o").write_bytes(b"\0" * 100)
        listed = tuple(Function(name, tuple(arguments), ()) for name, arguments in functions.items())
        Functions("m_", listed, memory=plans).write(objects)
        held = Parameters((Parameter("w", (3, 4), "float16"), Parameter("b", (), "bool")))
        (params / "parameters.json").write_text(dumps(held))
        return {"objects": objects, "params": params}

    return make


W = Value("w", "float16", (3, 4), parameter=True)
X = Value("x", "float32", (2, 8))
CACHE = Value("cache", "tuple", None, items=(X, Value("k", "int64", (4,)), Value("n", "shape", None)))


def test_a_model_of_relax(measured, relax):
    found = measured(relax({"f": 500, "g": 600}, f=[W, X], g=[CACHE, X]), relax=True)
    assert found == Memory(parameters=100 + 24 + 1, temporary=600, cache=64 + 32 + 64)


@pytest.mark.parametrize(
    ("plans", "argument"),
    [
        ({"f": None}, X),
        (None, X),
        ({"f": 500}, Value("x", "float32", ("n", 8))),
        ({"f": 500}, Value("x", "int8", None)),
    ],
)
def test_what_only_a_call_knows_is_more_than_what_is_said(measured, relax, plans, argument):
    assert measured(relax(plans, f=[argument]), relax=True).at_least


def need(size, *, more=False):
    return Need(size, "built", at_least=more)


A, B = Option("m-a@x", "m-a", "x"), Option("m-b@x", "m-b", "x")


@pytest.mark.parametrize(
    ("first", "second", "gets", "fits"),
    [
        (need(5), need(4), A, True),
        (need(11), need(4), B, True),
        (need(4, more=True), need(4), B, True),
        (need(4, more=True), need(11), A, None),
        (need(11, more=True), need(12), A, False),
        (need(13), need(12), B, False),
        (need(10), need(1), A, True),
    ],
)
def test_the_first_that_fits_then_what_may_then_the_smallest(first, second, gets, fits):
    choice = choose([(A, first), (B, second)], 10)
    assert (choice.option, choice.fits) == (gets, fits)
    assert choose([], 10) is None


@pytest.fixture
def held(tmp_path):
    """Run `device` on what its cells take; a number alone is declared."""

    def run(**cells):
        inputs, options = {}, []
        for name, taken in cells.items():
            declared = taken if isinstance(taken, int) else None
            options.append(Option(f"m-{name}@x", f"m-{name}", "x", declared))
            if declared is None:
                folder = tmp_path / name
                folder.mkdir()
                (folder / "memory.json").write_text(dumps(taken))
                inputs[f"memory:m-{name}@x"] = folder
        out = tmp_path / "out"
        out.mkdir()
        params = device.Params("phone", 4_000, 2_000, {"m": tuple(options)})
        return device.run(Job(params, inputs, {}, out, tmp_path / "log", None)), json.loads(
            (out / "device.json").read_text()
        )

    return run


def test_a_device_gets_the_first_that_fits(held):
    facts, report = held(a=Memory(2_000, 1, 0), b=Memory(1_500, 20, 30), c=5)
    assert facts == {"models": {"m": "m-b@x"}, "margin": 450}
    assert report["models"][0]["option"]["cell"] == "m-b@x"


def test_a_device_that_cannot_hold_its_model(held):
    with pytest.raises(VerifyError, match=r"phone cannot hold m-b on x: it takes 0.00 MB \(parameters, temp") as caught:
        held(a=3_000, b=Memory(2_000, 1, 0))
    assert "fewer bits or a shorter context" in caught.value.hint


def test_what_is_not_known_is_no_proof(held):
    with pytest.raises(VerifyError, match="whether phone can hold m is not known"):
        held(a=3_000, b=Memory(1_000, 0, 0, at_least=True))
