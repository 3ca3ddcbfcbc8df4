"""What mlc_llm's failures are made of, and what is known before it is started."""

from __future__ import annotations

import signal

import pytest

from pipeline.compilers.devices import check_device
from pipeline.compilers.mlc_refusals import explain, known_faults
from pipeline.documents.probe import Probe
from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.cells import Backend
from pipeline.process import Finished


def ended(status: int, output: str = "") -> StepError:
    return explain(Finished(("mlc_llm",), status, output), "compile")


@pytest.mark.parametrize("status", [-signal.SIGKILL, 128 + signal.SIGKILL])
def test_a_killed_compile_names_the_signal(status):
    error = ended(status)
    assert error.what == "mlc_llm compile was ended by signal 9, SIGKILL (Killed)"
    assert "memory" in error.hint


def test_what_it_said_last_is_shown():
    assert ended(1, "one\ntwo\n").what == "mlc_llm compile ended with status 1:\n    one\n    two"
    assert ended(255, "boom").what == "mlc_llm compile ended with status 255:\n    boom"
    assert ended(0).what == "mlc_llm compile ended well and left no output"


@pytest.mark.parametrize(
    "said",
    [
        "AttributeError: module 'tvm.relax' has no attribute 'frontend'",
        "AttributeError: module 'tvm.ir' has no attribute 'register_op_attr'",
        "ImportError: cannot import name 'tir' from 'tvm' (/x/tvm/__init__.py)",
    ],
)
def test_an_mlc_llm_that_does_not_fit_its_tvm(said):
    error = ended(1, f"Traceback (most recent call last):\n  File 'x'\n{said}\n")
    assert isinstance(error, ToolMissing)
    assert "does not fit the TVM beside it" in error.what
    assert said in error.what
    assert "slipway-tvm" not in error.hint


def backend(kind: str) -> Backend:
    return Backend("gpu", {"kind": kind}, "aarch64-linux-android", "arm64", "android", None, "elf", (), ())


def probe(*codegens: str) -> Probe:
    return Probe("3", "0", None, "0", None, codegens, fork=True, metal_simdgroup=False)


def test_a_device_without_code_generator_is_known_before():
    with pytest.raises(StepError, match="toolchain mlc has no code generator for 'vulkan'") as caught:
        check_device(probe("llvm", "opencl"), "mlc", backend("vulkan"))
    assert "llvm, opencl" in caught.value.hint
    check_device(probe("llvm", "vulkan"), "mlc", backend("vulkan"))


def gemma(window: int, context: int, **rest: object) -> dict:
    return {"context_window_size": context, "model_config": {"text_config": {"sliding_window_size": window, **rest}}}


@pytest.mark.parametrize(
    ("chat", "overrides", "limit"),
    [
        (gemma(512, 8192), {}, 512),
        (gemma(512, 8192), {"context_window_size": 513}, 512),
        (gemma(512, 8192), {"context_window_size": 512}, None),
        (gemma(512, 512), {}, None),
        (gemma(1024, 8192), {}, None),
        (gemma(2048, 8192), {}, 1024),
        (gemma(1024, 8192, kwargs={"sliding_window": 512}), {}, 512),
    ],
)
def test_the_sliding_window_of_gemma_3(chat, overrides, limit):
    note = known_faults("gemma3_text", chat, overrides)
    assert note is None if limit is None else note.startswith(f"KNOWN WRONG beyond {limit} tokens")


def test_other_models_are_not_suspected():
    assert known_faults("llama", gemma(512, 8192), {}) is None
