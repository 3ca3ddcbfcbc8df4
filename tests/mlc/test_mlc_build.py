"""A project with models of mlc_llm's: what is built, under which names, and what a change makes stale."""

from __future__ import annotations

import json
import shutil

import pytest
from mlc_projects import CHAT, TARGETS, TENSOR, converted, raw, shard

from pipeline.binary.objects import read_object
from pipeline.compilers import mlc_names

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

BACKENDS = ("ios", "catalyst-arm64", "catalyst-x86_64", "adreno", "web")


def cell(backend: str) -> str:
    return f"compile:small-q0f32@{backend}+mlc"


def name_of(device: str, chat=CHAT, overrides=None) -> str:
    given = {"context_window_size": 64} if overrides is None else overrides
    config = mlc_names.effective_config(chat, given)
    return mlc_names.model_lib(config, model_type="llama", quantization="q0f32", device=device, overrides=given)


def compiled(project) -> set[str]:
    return {name for name in project.worked if name.startswith("compile:")}


def test_everything_is_built_and_proven_and_a_second_run_does_nothing(mlc_built):
    for backend in BACKENDS:
        report = mlc_built.json(f"build/verify/{backend}/report.json")
        assert {check["state"] for check in report["checks"]} == {"proven"}, report
    assert mlc_built.ok().idle


def test_explain_says_that_a_program_shares_no_lowering(mlc_built):
    text = mlc_built.ok("explain", "compile:small-q0f32@ios+mlc").output
    assert "singly   shares no lowering with other backends: mlc_llm is a program here" in text


def test_objects_carry_the_declared_system_and_version(mlc_built):
    wanted = {
        "ios": ("ios", "15.0"),
        "catalyst-arm64": ("maccatalyst", "17.0"),
        "catalyst-x86_64": ("maccatalyst", "17.0"),
    }
    for backend, system in wanted.items():
        objects = list(mlc_built.path(f"build/compile/small-q0f32@{backend}+mlc").glob("*.o"))
        assert len(objects) == 2
        for path in objects:
            info = read_object(path.read_bytes(), path.name)
            assert (info.platform, info.minimum_os) == system


def test_libraries_have_the_names_that_mlc_gives_one_for_each_app(mlc_built):
    prefixes = {
        backend: mlc_built.json(f"build/archive/{backend}/archive.json")["models"][0]["prefix"] for backend in BACKENDS
    }
    iphone, android = f"{name_of('iphone')}_", f"{name_of('android')}_"
    assert prefixes == {
        "ios": iphone, "catalyst-arm64": iphone, "catalyst-x86_64": iphone, "adreno": android, "web": iphone,
    }  # fmt: skip


def test_the_metadata_of_the_model_is_read_from_its_objects(mlc_built):
    functions = mlc_built.json("build/compile/small-q0f32@ios+mlc/functions.json")["functions"]
    assert functions == [
        {"name": name, "arguments": None, "returns": None} for name in ("decode", "prefill")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("arch: x86_64, deployment_target", "arch: arm64, deployment_target", {"catalyst-x86_64"}),
        ('iphone, deployment_target: "15.0"', 'iphone, deployment_target: "16.0"', {"ios"}),
        ('macabi, deployment_target: "17.0"', 'macabi, deployment_target: "17.1"', {"catalyst-arm64"}),
    ],
)
def test_a_change_of_one_backend_recompiles_its_cells_only(mlc_built, old, new, stale):
    if "arch: arm64" in new:  # an xcframework holds each architecture of a platform once
        mlc_built.edit("targets.yaml", "[ios, catalyst-arm64, catalyst-x86_64]}", "[ios, catalyst-arm64]}")
        mlc_built.ok()
    mlc_built.edit("targets.yaml", old, new)
    assert compiled(mlc_built.ok()) == {cell(backend) for backend in stale}


def test_another_mlc_llm_recompiles_the_cells_of_its_toolchain(mlc_built):
    program = mlc_built.root.parent / "env" / "bin" / "mlc_llm"
    text = program.read_text()
    try:
        program.write_text(text + "# another release\n")
        assert mlc_built.doit("toolchain:mlc").built == {"toolchain:mlc"}
        run = mlc_built.ok()
        assert compiled(run) == {cell(backend) for backend in BACKENDS}
    finally:
        program.write_text(text)


def test_variables_of_the_environment_reach_neither_mlc_llm_nor_the_key(mlc_built):
    stray = {"MLC_MACABI_ARCH": "x86_64", "MLC_LLM_HOME": "/nowhere", "MLC_JIT_POLICY": "REDO", "TVM_HOME": "/nowhere"}
    assert mlc_built.ok(env=stray).idle
    mlc_built.edit("targets.yaml", "context_window_size: 64", "context_window_size: 32")
    mlc_built.ok(env=stray)  # the fake refuses what it should not see


def test_a_pinned_name_is_used_everywhere(mlc_built):
    mlc_built.edit("targets.yaml", "{overrides: {context_window_size: 64}}", "{model_lib: my-own-name, opt: O0}")
    mlc_built.ok()
    for backend in BACKENDS:
        assert mlc_built.path(f"build/compile/small-q0f32@{backend}+mlc/my_own_name_devc.o").is_file()


def test_an_edited_config_renames_the_library(mlc_built):
    chat = json.loads(json.dumps(CHAT))
    chat["model_config"]["hidden_size"] = 48
    converted(mlc_built.path("weights"), model_config=chat["model_config"])
    mlc_built.ok()
    name = name_of("iphone", chat)
    assert name != name_of("iphone")
    assert mlc_built.path(f"build/compile/small-q0f32@ios+mlc/{name}_devc.o").is_file()


def test_weights_that_change_compile_nothing(mlc_built):
    shard(mlc_built.path("weights"), b"other" * 7)
    assert not compiled(mlc_built.ok())
    assert mlc_built.path("dist/bundle/small-q0f32/params_shard_0.bin").read_text() == "other" * 7


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "wieght"}, "the library takes weight, which the weights do not have"),
        ({"shape": [4, 2]}, "it takes weight as float32[2, 4], and weight is float32[4, 2]"),
        ({"dtype": "float16"}, "it takes weight as float32[2, 4], and weight is float16[2, 4]"),
    ],
)
def test_weights_of_another_model_fail_without_running_anything(mlc_built, change, problem):
    shard(mlc_built.path("weights"), b"other" * 7, TENSOR | change)
    run = mlc_built.doit()
    assert run.status == 1
    assert problem in " ".join(run.output.split())
    assert not compiled(run)


def test_the_weights_of_each_fine_tune_fit_the_library_that_they_share(mlc_built):
    mlc_built.edit("targets.yaml", "q0f32: {", "q0f32: {model_lib: small_shared, ")
    mlc_built.edit("targets.yaml", "\nbackends:\n", f"\n{TUNED}backends:\n")
    mlc_built.edit("targets.yaml", "model: [small]", "model: [small, tuned]")
    shutil.copytree(mlc_built.path("weights"), mlc_built.path("tuned"))
    assert "verify:ios" in mlc_built.ok("verify:ios").built
    shard(mlc_built.path("tuned"), b"other" * 7, TENSOR | {"shape": [4, 2]})
    run = mlc_built.doit("verify:ios")
    assert run.status == 1
    assert "parameters of tuned-q0f32: it takes weight as float32[2, 4]" in " ".join(run.output.split())


TUNED = """\
  tuned:
    compiler: mlc
    toolchain: mlc
    weights: {path: tuned}
    variants:
      q0f32: {model_lib: small_shared, overrides: {context_window_size: 64}}
"""


def test_the_bundle_is_what_an_app_ships(mlc_built):
    assert sorted(path.name for path in mlc_built.path("dist/bundle/small-q0f32").iterdir()) == [
        "mlc-chat-config.json", "params_shard_0.bin", "tensor-cache.json", "tokenizer.json"
    ]  # fmt: skip


def test_an_architecture_that_mlc_does_not_know(mlc_built):
    converted(mlc_built.path("weights"), model_type="olmo2")
    run = mlc_built.doit("compile:small-q0f32@ios+mlc")
    assert run.status != 0
    assert "does not know the architecture 'olmo2'; it knows llama, qwen3" in run.output
    assert "prebuilt" in run.output


def test_a_raw_checkpoint_is_converted_once_for_all_backends_and_variants(fresh):
    text = TARGETS.replace(
        "q0f32: {overrides: {context_window_size: 64}}",
        "q0f32: {quantization: q0f32, conv_template: LM, gen_config: {max_batch_size: 4}}\n"
        "      q0f32-short: {quantization: q0f32, conv_template: LM, gen_config: {max_batch_size: 4},\n"
        "                    overrides: {context_window_size: 32}}\n"
        "      q4f16_1: {quantization: q4f16_1, conv_template: LM}",
    ).replace("[ios, catalyst-arm64, catalyst-x86_64, adreno, web]\nproducts", "[ios, adreno]\nproducts")
    fresh.write("targets.yaml", text.split("products:")[0])
    for path in fresh.path("weights").iterdir():
        path.unlink()
    raw(fresh.path("weights"))
    run = fresh.ok()
    conversions = {name for name in run.built if name.startswith(("gen_config:", "convert_weight:"))}
    assert conversions == {
        "gen_config:small-q0f32", "gen_config:small-q4f16_1", "convert_weight:small-q0f32",
        "convert_weight:small-q4f16_1",
    }  # fmt: skip
    assert len(compiled(run)) == 6
    for variant in ("q0f32", "q0f32-short", "q4f16_1"):
        files = {path.name for path in fresh.path(f"dist/bundle/small-{variant}").iterdir()}
        assert files == {"mlc-chat-config.json", "params_shard_0.bin", "tensor-cache.json", "tokenizer.json"}
    assert fresh.ok().idle
    fresh.write("weights/model.safetensors", "new tensors")
    again = fresh.ok().built
    assert {"convert_weight:small-q0f32", "convert_weight:small-q4f16_1"} <= again
    assert not any(name.startswith(("compile:", "gen_config:")) for name in again)


def test_prebuilt_objects_take_the_place_of_a_compile(mlc_built):
    folder = mlc_built.path("build/compile/small-q0f32@ios+mlc")
    mlc_built.path("libs").mkdir()
    import tarfile

    with tarfile.open(mlc_built.path("libs/ios.tar"), "w:gz") as tar:
        for path in folder.glob("*.o"):
            tar.add(path, arcname=path.name.replace(f"{name_of('iphone')}_lib0", "lib0"))
    text = TARGETS.split("models:")[0].split("toolchains:")[0] + (
        "models:\n  small:\n    prebuilt: {ios: libs/ios.tar}\n"
        f"    system_lib_prefix: {name_of('iphone')}_\n    variants: {{q0f32: {{}}}}\n"
        'backends:\n  ios: {preset: iphone, deployment_target: "15.0"}\n'
        "matrix: {model: [small], backend: [ios]}\n"
        "products: {apple: {kind: xcframework, backends: [ios]}}\n"
    )
    mlc_built.write("targets.yaml", text)
    run = mlc_built.ok()
    assert "compile:small-q0f32@ios" in run.built
    assert "linked, 2/2 constructors" in run.output
    assert mlc_built.json("build/compile/small-q0f32@ios/functions.json")["functions"][0]["name"] == "decode"
    mlc_built.edit("targets.yaml", "libs/ios.tar}", f"{{path: libs/ios.tar, sha256: {'ab' * 32}}}}}")
    refused = mlc_built.doit()
    assert refused.status != 0
    assert "not the file that targets.yaml pins" in refused.output
