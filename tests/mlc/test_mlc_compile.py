"""What mlc_llm is told, what its output must be, and what becomes of its complaints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.binary.ar import Member
from pipeline.compilers import mlc, mlc_metadata, mlc_refusals
from pipeline.documents.functions import Value
from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.process import Finished

IPHONE = Backend(
    name="ios", device={"kind": "metal"}, triple="arm64-apple-ios15.0", arch="arm64", platform="ios",
    deployment_target="15.0", format="macho", system_libraries=(), frameworks=(),
)  # fmt: skip
CATALYST = replace(
    IPHONE, triple="x86_64-apple-ios17.0-macabi", arch="x86_64", platform="maccatalyst", deployment_target="17.0"
)


def model(**options):
    return ModelRef(model="m", variant="v", prefix="lib_name_", options=options)


def test_the_command_line_of_a_cell():
    options = {
        "opt": "O3", "quantization": "q4f16_1", "model_type": "llama", "overrides": {"max_batch_size": 1},
        "enable_subgroups": True, "model_lib": "lib-name", "conv_template": "LM",
    }  # fmt: skip
    assert mlc.command_line(Path("c.json"), model(**options), "iphone", IPHONE.triple, Path("o.tar")) == [
        "compile", "c.json", "--device", "iphone", "--host", "arm64-apple-ios15.0", "--opt", "O3",
        "--system-lib-prefix", "lib_name_", "--quantization", "q4f16_1", "--model-type", "llama",
        "--overrides", "max_batch_size=1", "--enable-subgroups", "--output", "o.tar",
    ]  # fmt: skip


def test_what_is_not_said_is_left_to_mlc():
    words = mlc.command_line(Path("c"), model(), "iphone", IPHONE.triple, Path("o"))
    assert not {"--quantization", "--model-type", "--overrides", "--enable-subgroups"} & set(words)


@pytest.mark.parametrize(
    ("device", "platform", "name"),
    [
        ({"kind": "metal"}, "maccatalyst", "macabi"),
        ({"kind": "metal"}, "ios-simulator", "iphone"),
        ({"kind": "opencl"}, "android", "android"),
        ({"kind": "opencl", "device": "adreno"}, "android", "android:adreno"),
        ({"kind": "opencl", "device": "mali"}, "android", "android"),
        ({"kind": "opencl", "device": "mali"}, "linux", "opencl:generic"),
        ({"kind": "webgpu"}, "wasm", "webgpu"),
        ({"kind": "llvm"}, "linux", "llvm"),
    ],
)
def test_names_of_devices(device, platform, name):
    assert mlc.device(replace(IPHONE, device=device, platform=platform)) == name


def test_a_device_that_mlc_has_no_name_for():
    with pytest.raises(StepError, match="no hexagon on android"):
        mlc.device(replace(IPHONE, device={"kind": "hexagon"}, platform="android"))


def test_only_the_cell_steers_mlc(tmp_path):
    catalyst, phone = mlc.environment(tmp_path, CATALYST), mlc.environment(tmp_path, IPHONE)
    assert (catalyst["MLC_MACABI_ARCH"], catalyst["MLC_MACABI_DEPLOYMENT_TARGET"]) == ("x86_64", "17.0")
    assert (phone["MLC_MACABI_ARCH"], phone["MLC_MACABI_DEPLOYMENT_TARGET"]) == (None, None)
    assert Path(phone["MLC_LLM_HOME"]).parent == tmp_path
    assert phone["MLC_JIT_POLICY"] == "OFF"


def finished(output, status=1):
    return Finished(("mlc_llm",), status, output)


@pytest.mark.parametrize(
    ("output", "kind", "what", "hint"),
    [
        (
            "ValueError: Unknown model type: mamba9. Available ones: ['llama', 'qwen3']",
            StepError, "'mamba9'; it knows llama, qwen3", "prebuilt",
        ),
        (
            "mlc_llm compile: error: argument --model-type: invalid choice: 'x' (choose from 'auto', 'llama')",
            StepError, "architecture 'x'", "prebuilt",
        ),
        (
            "argument --quantization: invalid choice: 'q9' (choose from 'q0f16', 'q0f32')",
            StepError, "no quantization 'q9'", "q0f16, q0f32",
        ),
        (
            "AttributeError: module 'mlc_llm.tokenizers._ffi_api' has no attribute 'DetectTokenizerInfo'",
            ToolMissing, "C++ library", "converted weights",
        ),
        ("ModuleNotFoundError: No module named 'torch.nn'", ToolMissing, "the package torch", "pip install torch"),
        ("one\ntwo\nlast words", StepError, "ended with status 1:\n    one\n    two\n    last words", "log"),
    ],
)  # fmt: skip
def test_complaints_of_mlc_are_put_into_words(output, kind, what, hint):
    error = mlc_refusals.explain(finished(output), "compile")
    assert type(error) is kind
    assert what in error.what
    assert hint in error.hint


def test_ending_well_without_output_is_a_failure():
    assert "ended well and left no output" in mlc_refusals.explain(finished("done", 0), "compile").what
    assert "signal 11" in mlc_refusals.explain(finished("", -11), "compile").what


METADATA = {"model_type": "llama", "params": [{"name": "w"}], "memory_usage": {"prefill": 2, "decode": 1}}


def test_metadata_is_found_between_other_bytes():
    text = json.dumps(METADATA).encode()
    data = b'\0junk {"a": 1} {"memory_usage": broken \0' + b"\xff" + text + b'\0"memory_usage"'
    assert mlc_metadata.read([b"nothing", data]) == METADATA
    assert mlc_metadata.functions(METADATA) == ["decode", "prefill"]
    assert mlc_metadata.summary(METADATA) == {"model_type": "llama"}
    assert mlc_metadata.parameters(METADATA) is None


def test_parameters_that_a_library_lists():
    listed = [
        {"name": "w", "shape": [2, -1], "dtype": "float16"},
        {"name": "sharded", "shape": [8], "dtype": "float16", "preprocs": [{"func_name": "slice"}]},
    ]
    assert mlc_metadata.parameters({"params": listed}) == (
        Value("w", "float16", (2, "w_1"), parameter=True), Value("sharded", "float16", None, parameter=True)
    )  # fmt: skip


@pytest.mark.parametrize("data", [b"", b'{"memory_usage": 1}', b'{"memory_usage": {}, "model_type"', b'"memory_usage"'])
def test_no_metadata_is_no_error(tmp_path, data):
    assert mlc_metadata.read([data]) is None
    facts = mlc_metadata.describe([Member("lib0.o", data)], "p_", tmp_path)
    assert facts == {"bytes": len(data), "functions": 0, "metadata": {}, "memory": {}}
    assert json.loads((tmp_path / "functions.json").read_text()) == {"prefix": "p_", "functions": []}
