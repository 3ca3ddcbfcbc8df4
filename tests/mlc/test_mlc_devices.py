"""What a device needs for a model of MLC is what the app's record says; a type by its name reaches mlc_llm."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

DEVICES = "devices:\n  phone: {gpu: apple, ram: %s, os: ios, backends: [ios], models: [small]}\n"


def test_a_device_and_a_record_agree(mlc_built):
    text = mlc_built.path("targets.yaml").read_text()
    (record,) = mlc_built.json("dist/apple/bundle/mlc-app-config.json")["model_list"]
    mlc_built.write("targets.yaml", text + DEVICES % "1MB")
    mlc_built.ok("device")
    (phone,) = json.loads(mlc_built.ok("devices", "--json").output)["devices"]
    takes = phone["models"][0]["takes"]
    assert takes == {"bytes": record["estimated_vram_bytes"], "source": "built", "at_least": False}
    mlc_built.write("targets.yaml", text + DEVICES % "0.001MB")
    run = mlc_built.doit()
    assert run.status != 0
    assert "phone cannot hold small-q0f32 on ios" in run.output
    assert not [name for name in run.worked if name.startswith(("compile:", "product:"))]


def test_a_type_by_a_name(fresh):
    text = (
        fresh.path("targets.yaml")
        .read_text()
        .replace("[ios, catalyst-arm64, catalyst-x86_64, adreno, web]", "[adreno]")
    )
    text = text.partition("products:")[0].replace("small", "AVA-LL32-1B16")
    fresh.write("targets.yaml", text + 'model_types: {"AVA-LL32-*": qwen3, "AVA-XX-*": llama}\n')
    run = fresh.ok("compile")
    assert "`AVA-XX-*` fits the name of no model of mlc_llm's" in run.output
    assert "compiled as qwen3, and its config says llama" in run.output
    fresh.edit("targets.yaml", "qwen3", "lama")
    run = fresh.doit("compile")
    assert run.status != 0
    assert "how mlc_llm names libraries of kind 'lama' is not known here" in run.output
    assert "did you mean `llama`? Else give the variant a `model_lib`" in run.output
