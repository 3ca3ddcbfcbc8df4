"""Compiling: two parts give what one build gives, for every kind of device; and what is refused is said well."""

from __future__ import annotations

import json
import resource
from importlib.metadata import version
from pathlib import Path

import pytest
from compiled_models import TINY, Compiled, declared, model
from fake_worker import run_forked

from pipeline.errors import StepError

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

APPLE = (
    "arm64-apple-ios14.0",
    "arm64-apple-ios14.0-simulator",
    "arm64-apple-ios18.0-macabi",
    "x86_64-apple-ios18.0-macabi",
)


def build_in_one_go(*, path, described, device, triple, out, pipeline):
    """What `tvm.relax.build` gives for the same module: the reference that the divided build is held against.

    `pipeline` is "tvm" for TVM's own passes, "ours" for what `schedules` makes of them.
    """
    from tvm import relax
    from tvm.target import Target

    from pipeline.compilers import schedules, sources
    from pipeline.compilers.confinement import confined
    from pipeline.compilers.declared import Declared
    from pipeline.compilers.recipe import BuildSpec
    from pipeline.matrix.source import SourceRef

    host = {"kind": "llvm", "mtriple": triple}
    target = Target({**device, "mtriple": triple} if device["kind"] == "llvm" else {**device, "host": host})
    spec = BuildSpec(described["model"], described["variant"], described["options"], None, device["kind"])
    with target, confined(Declared(**declared(Path(path)))) as scope:
        loaded = sources.load(SourceRef("factory", "build"), scope, spec, compiling=True)
    module = loaded.module.with_attr("system_lib_prefix", described["prefix"])
    passes = relax.get_default_pipeline(target)
    if pipeline == "ours":
        passes = schedules.usual(target, metal_simdgroup=False).passes
    built = relax.build(module, target, relax_pipeline=passes, system_lib=True)
    built.export_library("objects", fcompile=lambda *_args, **_kwargs: None, workspace_dir=out)


def objects_of(folder: Path, prefix: str) -> dict[str, bytes]:
    return {path.name.removeprefix(prefix): path.read_bytes() for path in folder.glob("*.o")}


def same_as_one_build(compiled: Compiled, device, triple, name="a", pipeline="ours") -> None:
    divided = compiled.compile(triple, name, **device)
    whole = compiled.folder / f"whole-{name}"
    whole.mkdir()
    arguments = {"path": str(compiled.recipe), "described": compiled.model, "pipeline": pipeline}
    arguments |= {"device": device, "triple": triple, "out": str(whole)}
    run_forked([(f"{__name__}:build_in_one_go", arguments)], compiled.folder / "whole.log")
    prefix = compiled.model["prefix"]
    ours, theirs = objects_of(divided, prefix), objects_of(whole, prefix)
    assert sorted(ours) == ["devc.o", "lib0.o"]
    assert ours == theirs


@pytest.mark.parametrize("triple", APPLE)
def test_a_metal_slice_is_byte_for_byte_one_build(tmp_path, triple):
    same_as_one_build(Compiled(tmp_path, TINY, model("tiny", "f16", {"dtype": "float16"})), {"kind": "metal"}, triple)


@pytest.mark.parametrize(
    ("device", "triple"),
    [
        ({"kind": "webgpu"}, "wasm32-unknown-unknown-wasm"),
        ({"kind": "llvm"}, "wasm32-unknown-unknown-wasm"),
        ({"kind": "llvm"}, "arm64-apple-macosx11.0"),
        ({"kind": "llvm"}, "x86_64-linux-gnu"),
        ({"kind": "opencl"}, "aarch64-linux-android"),
        ({"kind": "opencl", "device": "adreno"}, "aarch64-linux-android"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else value,
)
@pytest.mark.parametrize(("rows", "pipeline"), [(8, "tvm"), ("n", "ours")])
def test_so_is_every_other_device(tmp_path, device, triple, rows, pipeline):
    # Of dynamic shapes TVM itself makes something else in every run: see test_shape_order.
    compiled = Compiled(tmp_path, TINY, model("tiny", "f32", {"rows": rows}))
    same_as_one_build(compiled, device, triple, pipeline=pipeline)


def test_functions_are_described(tmp_path):
    out = Compiled(tmp_path, TINY, model("tiny", "f32")).compile("x86_64-linux-gnu")
    document = json.loads((out / "functions.json").read_text())
    assert document["prefix"] == "tiny_f32_"
    assert (document["tvm"], document["tvm_ffi"]) == (version("apache-tvm"), version("apache-tvm-ffi"))
    double, forward = document["functions"]
    x = {"name": "x", "dtype": "float32", "shape": ["n", 96], "parameter": False}
    assert double == {"name": "double", "arguments": [x], "returns": [{**x, "name": "output_0"}]}
    assert forward["arguments"][0] == x
    packed = forward["arguments"][1]
    assert packed["parameter"] is True
    assert [item["name"] for item in packed["items"]] == ["dense.weight", "dense.bias", "norm.weight"]
    assert packed["items"][0] == {**x, "name": "dense.weight", "shape": [96, 96]}


def test_plain_parameters_keep_their_names(tmp_path):
    out = Compiled(tmp_path, TINY, model("tiny", "f32", {"param_mode": "plain"})).compile("x86_64-linux-gnu")
    forward = json.loads((out / "functions.json").read_text())["functions"][1]
    marked = [argument["name"] for argument in forward["arguments"] if argument.get("parameter")]
    assert marked == ["dense.weight", "dense.bias", "norm.weight"]


def test_metal_without_simdgroup_says_so(tmp_path):
    compiled = Compiled(tmp_path, TINY, model("tiny", "f16", {"dtype": "float16"}))
    out = compiled.compile("arm64-apple-ios14.0", kind="metal")
    assert "simdgroup" in compiled.facts["schedule"]
    assert compiled.facts["bytes"] == sum(path.stat().st_size for path in out.glob("*.o"))
    assert compiled.facts["functions"] == 2
    assert b"simdgroup" not in (out / "tiny_f16_devc.o").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["functions.json", "tiny_f16_devc.o", "tiny_f16_lib0.o"]


def refused(compiled: Compiled, triple="x86_64-linux-gnu", config=None, **device) -> StepError:
    with pytest.raises(StepError) as caught:
        compiled.compile(triple, config=config, **device)
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_a_device_without_code_generator(tmp_path):
    error = refused(Compiled(tmp_path, TINY, model("tiny", "f32")), "aarch64-linux-android", kind="vulkan")
    assert "no code generator for 'vulkan'" in error.what
    assert "opencl" in error.hint


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ({"mcpu": "nonsense"}, "LLVM knows no processor 'nonsense' for x86_64-linux-gnu"),
        ({"mcpu": "skylaek"}, "did you mean `skylake`"),
    ],
)
def test_a_processor_that_llvm_does_not_know(tmp_path, device, told):
    error = refused(Compiled(tmp_path, TINY, model("tiny", "f32")), kind="llvm", **device)
    assert told in str(error)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (["+avx2", "+nonsense"], "LLVM knows no feature 'nonsense' for x86_64-linux-gnu"),
        (["-avx512ff"], "did you mean `avx512f`"),
        (["avx2"], "'avx2' neither begins with + nor with -"),
        (["+avx2,+fma"], "LLVM knows no feature 'avx2,+fma'"),
    ],
)
def test_a_feature_that_llvm_would_only_warn_of(tmp_path, features, told):
    error = refused(Compiled(tmp_path, TINY, model("tiny", "f32")), kind="llvm", mattr=features)
    assert told in str(error)


def test_a_processor_that_llvm_knows(tmp_path):
    device = {"mcpu": "skylake", "mattr": ["+avx2", "-avx512f"]}
    assert Compiled(tmp_path, TINY, model("tiny", "f32")).compile("x86_64-linux-gnu", kind="llvm", **device)


def test_a_device_tvm_does_not_accept(tmp_path):
    error = refused(Compiled(tmp_path, TINY, model("tiny", "f32")), kind="metal", colour="red")
    assert "colour" in error.what


def test_a_triple_llvm_does_not_know(tmp_path):
    error = refused(Compiled(tmp_path, TINY, model("tiny", "f32")), "pdp11-dec-unix", kind="metal")
    assert "pdp11-dec-unix" in str(error)


BROKEN = {
    "raises": ("def build(spec):\n    return 1 / 0\n", ":2", "build raised ZeroDivisionError"),
    "none": ("\ndef build(spec):\n    pass\n", ":2", "build returned None"),
    "module": ("def build(spec):\n    return 'x', {}\n", ":1", "returned a str where a tvm.IRModule belongs"),
    "parameters": ("import tvm\ndef build(spec):\n    return tvm.IRModule(), 3\n", ":2", "an int where the parameters"),
    "empty": ("import tvm\ndef build(spec):\n    return tvm.IRModule(), {}\n", "recipe.py", "no function to call"),
    "name": ("def bild(spec): ...\n", "recipe.py", "no function 'build'"),
    "syntax": ("def build(spec:\n    pass\n", ":1:10", "this is not Python: '(' was never closed"),
    "import": ("\nimport no_such_package\n", ":2", "No module named 'no_such_package'"),
    "exit": ("import sys\ndef build(spec):\n    sys.exit('enough')\n", ":3", "build raised SystemExit: enough"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_recipe_is_placed(tmp_path, case):
    text, place, words = BROKEN[case]
    recipe = tmp_path / "recipe.py"
    recipe.write_text(text)
    error = refused(Compiled(tmp_path, recipe, model("broken", "f32")))
    assert words in error.what
    assert str(error.where).startswith(str(recipe)) or place == "recipe.py"
    assert str(error.where).endswith(place)


def test_a_misspelt_function_has_a_suggestion(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("def bild(spec): ...\n")
    assert "`bild`" in refused(Compiled(tmp_path, recipe, model("broken", "f32"))).hint


def test_the_traceback_is_in_the_log(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("from beside import fail\ndef build(spec):\n    fail()\n")
    (tmp_path / "beside.py").write_text("def fail():\n    raise KeyError('x')\n")
    compiled = Compiled(tmp_path, recipe, model("broken", "f32"))
    error = refused(compiled)
    assert str(error.where) == f"{tmp_path / 'beside.py'}:2"
    assert "Traceback" in compiled.log.read_text()


def test_reading_weights_while_compiling_is_explained(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("def build(spec):\n    (spec.weights / 'model.bin').read_bytes()\n")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    error = refused(Compiled(tmp_path, recipe, model("broken", "f32")), config=weights)
    assert "model.bin" in error.what
    assert str(error.where) == f"{recipe}:2"
    assert "`config` patterns" in error.hint


def test_a_model_tvm_cannot_compile_is_placed(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "from tvm.relax.frontend import nn\n"
        "class M(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x + x\n"
        "def build(spec):\n"
        "    x = nn.spec.Tensor([4], 'int64')\n"
        "    return M().export_tvm(spec={'forward': {'x': x}})[0], {}\n"
    )
    compiled = Compiled(tmp_path, recipe, model("broken", "f32"))
    error = refused(compiled, "wasm32-unknown-unknown-wasm", kind="webgpu")
    assert "webgpu" in error.what
    assert "i64" in error.what
    assert error.where == str(recipe)
    assert "Traceback" in compiled.log.read_text()


@pytest.mark.slow
def test_four_slices_of_the_decoder_are_one_build_each_and_cost_little(tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "decoder.py"
    compiled = Compiled(tmp_path, recipe, model("decoder", "q4f16_1", {"quantization": "q4f16_1"}))
    facts = []
    for number, triple in enumerate(APPLE):
        same_as_one_build(compiled, {"kind": "metal"}, triple, f"slice-{number}")
        facts.append(compiled.facts)
    assert len(compiled.worker.stages) == 1
    lower = min(one["lower_cpu"] for one in facts)
    codegen = [one["codegen_cpu"] for one in facts]
    assert (lower + sum(codegen)) / (lower + codegen[0]) < 2.3
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > sum(codegen)
