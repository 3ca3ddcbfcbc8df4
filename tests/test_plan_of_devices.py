"""Which model each device gets, and what cannot be, before anything is built: the tables of the AVA manual."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import MatrixError
from pipeline.matrix.expand import load
from pipeline.plan import plan
from pipeline.plan.devices import offers
from pipeline.weights.entry import Entry, LockedFile

AVA = Path(__file__).with_name("ava_devices.yaml").read_text()

MLC = """\
version: 1
models:
  qwen3:
    compiler: mlc
    weights: {hf: mlc-ai/Qwen3-0.6B-q4f16_1-MLC, revision: main}
    variants:
      q4: {model_lib: qwen3_q4}
      q4-1k: {model_lib: qwen3_q4_1k, overrides: {context_window_size: 1024}}
backends:
  adreno: {preset: "android:adreno"}
  any: {preset: android}
  ios: {preset: iphone}
matrix: {model: [qwen3], backend: [adreno, any, ios]}
products:
  phones: {kind: android, backends: [adreno]}
  apple: {kind: xcframework, backends: [ios]}
devices:
  pixel: {gpu: mali, ram: 4GB, os: android, models: [qwen3]}
  galaxy: {gpu: adreno, ram: 4GB, os: android}
"""


@pytest.fixture
def planned(tmp_path):
    for name in ("library.tar", "gemma.task", "model.gguf"):
        (tmp_path / name).write_bytes(b"")

    def make(text, *, size=None):
        path = tmp_path / "targets.yaml"
        path.write_text(text)
        matrix = load(path)
        pin = Entry({}, "", {"params_shard_0.bin": LockedFile(size or 0, ""), "big.txt": LockedFile(9 << 40, "")})
        return matrix, {one.name: one for one in plan(matrix, {} if size is None else {"qwen3": pin})}

    return make


def refusal(planned, text, **more):
    with pytest.raises(MatrixError) as caught:
        planned(text, **more)
    return str(caught.value)


def test_every_recommendation_of_the_manual_fits(planned):
    matrix, actions = planned(AVA)
    pairs = [(device.name, offer.wanted.name) for device, found in offers(matrix, {}) for offer in found]
    assert len(matrix.devices) == 11
    assert len(pairs) == 21
    assert not [name for name in actions if name.startswith("memory:")], "all sizes are declared"


@pytest.mark.parametrize(
    ("device", "model", "least"),
    [
        ("hmt-1", "AVA-GE3N-4B", "3.00 GB"),  # "No"
        ("hmt-1", "AVA-GE3N-2B", "2.00 GB"),  # "Tight"
        ("iphone-15, ram: 4GB", "AVA-QW3-4B16", "2.50 GB"),  # "8GB+ devices"
        ("arc-3", "AVA-GE3N-4B", "3.00 GB"),  # "Works", on three quarters of 4 GB
    ],
)
def test_what_the_manual_says_no_to_is_refused_where_it_is_written(planned, device, model, least):
    name, _, ram = device.partition(", ram: ")
    (line,) = [one for one in AVA.splitlines() if one.startswith(f"  {name}: ")]
    changed = f"{line.partition('models: [')[0]}models: [{model}]}}"
    changed = changed.replace("6GB", ram) if ram else changed
    said = refusal(planned, AVA.replace(line, changed))
    number, column = AVA.splitlines().index(line) + 1, changed.index(model) + 1
    assert f"targets.yaml:{number}:{column}: {name} cannot hold {model}" in said
    assert f"it takes {least} (as targets.yaml declares), and an app can use" in said


def test_more_memory_for_an_app_is_said_and_not_assumed(planned):
    line = "arc-3: {gpu: adreno, ram: 4GB, os: android, backends: [vulkan], models: [AVA-QW3-17B16, AVA-GE2-2B16"
    wanted = AVA.replace(line, line.replace("AVA-GE2-2B16", "AVA-GE3N-4B"))
    assert "2.00 GB of its 4.00 GB" in refusal(planned, wanted)
    planned(wanted.replace("arc-3: {gpu: adreno,", "arc-3: {usable: 0.75, gpu: adreno,"))
    planned(wanted.replace("arc-3: {gpu: adreno,", "arc-3: {reserved: 1GB, gpu: adreno,"))
    assert "2.99 GB of its 4.00 GB" in refusal(
        planned, wanted.replace("arc-3: {gpu: adreno,", "arc-3: {reserved: 1010MB, gpu: adreno,")
    )


def test_only_a_product_for_the_device_waits_for_it(planned):
    _, actions = planned(AVA)
    behind = {
        name: {
            edge.action for edge in actions[f"product:{name}"].upstream.values() if edge.action.startswith("device:")
        }
        for name in ("phones", "apple")
    }
    assert behind["apple"] == {"device:iphone-15-pro", "device:iphone-16-pro", "device:iphone-15"}
    assert behind["phones"] == {f"device:{one.name}" for one in planned(AVA)[0].devices} - behind["apple"]


def test_without_devices_nothing_is_planned_for_them(planned):
    _, actions = planned(AVA.partition("devices:\n")[0])
    assert not [name for name in actions if name.startswith(("memory:", "device:"))]
    assert not [role for one in actions.values() for role in one.upstream if role.startswith("device:")]


def test_a_device_gets_what_is_made_for_its_gpu_first_variants_first(planned):
    matrix, actions = planned(MLC)
    pixel, galaxy = matrix.devices
    assert (pixel.backends, galaxy.backends) == (("any",), ("adreno", "any"))
    _, (_, (offer,)) = offers(matrix, {})
    assert [way.option.cell for way in offer.ways] == [
        "qwen3-q4@adreno", "qwen3-q4@any", "qwen3-q4-1k@adreno", "qwen3-q4-1k@any"
    ]  # fmt: skip
    assert {name for name in actions if name.startswith("device:")} == {"device:pixel"}, "galaxy must hold nothing"
    assert set(actions["device:pixel"].upstream) == {"memory:qwen3-q4@any", "memory:qwen3-q4-1k@any"}
    assert "memory:qwen3-q4@ios" not in actions


def test_weights_that_are_pinned_and_alone_too_large(planned):
    planned(MLC, size=2_000_000_000)
    said = refusal(planned, MLC, size=2_000_000_001)
    assert "pixel cannot hold qwen3-q4 on any: it takes at least 2.00 GB (the weights alone" in said


def test_a_smaller_variant_is_taken_where_the_first_is_too_large(planned):
    declared = MLC.replace("{model_lib: qwen3_q4}", "{model_lib: qwen3_q4, estimated_vram_bytes: 3000000000}")
    planned(declared)
    assert "cannot hold qwen3-q4" in refusal(planned, declared.replace("[qwen3]}\n  gal", "[qwen3-q4]}\n  gal"))


GGUF = """\
  gemma-gguf: {gguf: {hf: a/b, revision: main, file: g.gguf}%s}
  gemma-litert: {litert: {hf: a/b, revision: main, file: g.task}}
backends:
"""


def with_files(models, *, declared=""):
    return MLC.replace("backends:\n", GGUF % declared, 1).replace("[qwen3]}\n  gal", f"[{models}]}}\n  gal")


def test_files_for_other_runtimes_are_for_every_device(planned):
    matrix, actions = planned(with_files("gemma-gguf", declared=", estimated_vram_bytes: 2000000000"))
    names = [offer.wanted.name for offer in list(offers(matrix, {}))[1][1]]
    assert names == ["qwen3", "gemma-gguf", "gemma-litert"]
    ((option,),) = actions["device:pixel"].params.models.values()
    assert (option.backend, option.declared) == ("llama.cpp", 2_000_000_000)
    assert not actions["device:pixel"].upstream
    assert "2.00 GB of its 4.00 GB" in refusal(
        planned, with_files("gemma-gguf", declared=", estimated_vram_bytes: 2000000001")
    )


@pytest.mark.parametrize("name", ["gemma-gguf", "gemma-litert"])
def test_a_file_that_says_nothing_is_no_proof(planned, name):
    said = refusal(planned, with_files(name))
    assert f"whether pixel can hold {name} is not known" in said
    assert "(of a GGUF or LiteRT file: of the model)" in said


def test_a_gguf_file_is_in_memory_as_a_whole(planned):
    matrix, _ = planned(with_files("qwen3"))
    lock = {name: Entry({}, "", {"g": LockedFile(5_000_000_000, "")}) for name in ("gemma-gguf", "gemma-litert")}
    ways = {one.wanted.name: one.ways[0].early for one in list(offers(matrix, lock))[1][1]}
    assert (ways["gemma-gguf"].bytes, ways["gemma-gguf"].fits(2_000_000_000)) == (5_000_000_000, False)
    assert (ways["gemma-litert"].bytes, ways["gemma-litert"].fits(2_000_000_000)) == (0, None)


def test_other_models_say_it_in_their_variants(planned):
    assert "`estimated_vram_bytes` is said of a variant" in refusal(
        planned, MLC.replace("    compiler: mlc\n", "    compiler: mlc\n    estimated_vram_bytes: 5\n")
    )


def test_the_list_of_what_is_shipped_has_every_model_for_a_device_not_only_those_it_must_hold(planned):
    matrix, actions = planned(AVA.replace("os: android,", 'os: android, adb_model: ["Phone*"],', 1))
    listed = {one.name: one for one in actions["manifest:dist"].params.devices}
    assert list(listed) == [one.name for one in matrix.devices]
    assert next(iter(listed.values())).adb_model == ("Phone*",)
    takes = {(one.model, one.backend): one for one in listed["rokid-x-craft"].takes}
    assert takes["AVA-QW3-4B16-q4", "mali"].bytes == 2_500_000_000, "which it need not hold, and cannot"
    assert takes["AVA-GE3N-2B", "LiteRT"].at_least is False
    assert actions["manifest:dist"].params.measured is None


def test_what_a_build_finds_out_is_listed_once_it_has(planned):
    _, actions = planned(MLC)
    manifest = actions["manifest:dist"]
    assert {one.cell for one in manifest.params.measured["galaxy"]} == {
        f"qwen3-{variant}@{backend}" for variant in ("q4", "q4-1k") for backend in ("adreno", "any")
    }
    assert manifest.upstream["memory:qwen3-q4@any"].action == "memory:qwen3-q4@any"
    assert planned(MLC.partition("devices:")[0])[1]["manifest:dist"].params.devices is None
    pins = planned(MLC, size=10**9)[1]["manifest:dist"].params.devices
    assert not any(one.takes for one in pins), "cells that are measured say more than pins"


def test_adb_reaches_no_iphone(planned):
    said = refusal(
        planned, MLC.replace("gpu: mali, ram: 4GB, os: android", "gpu: apple, ram: 4GB, os: ios, adb_model: [x]")
    )
    assert "devices.pixel: adb reaches no device that runs ios\n  hint: remove `adb_model`" in said
