"""Which models have a record for apps, what is in it, and what cannot work. No file is touched but the matrix."""

from __future__ import annotations

import pytest

from pipeline.action import Upstream
from pipeline.documents.codec import encode
from pipeline.errors import MatrixError
from pipeline.matrix.expand import load
from pipeline.plan import plan

HUB = "{hf: mlc-ai/Qwen3-0.6B-q4f16_1-MLC, revision: main}"
LIBRARY = "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2"

TARGETS = """\
version: 1
models:
  qwen3:
    compiler: mlc
    weights: WEIGHTS
    variants: VARIANTS
backends:
  ios: {preset: iphone}
  catalyst: {preset: macabi}
  droid: {preset: android}
  page: {preset: webgpu}
matrix: {model: [qwen3], backend: [ios, catalyst, droid, page]}
products:
  apple: {kind: xcframework, backends: [ios, catalyst]}
  android: {kind: android, backends: [droid]}
  web: {kind: web, backends: [page]}
"""


@pytest.fixture
def planned(tmp_path):
    (tmp_path / "tvm").mkdir()
    (tmp_path / "libs.tar").write_bytes(b"")
    (tmp_path / "weights").mkdir()

    def make(variants=f"{{q4: {{model_lib: {LIBRARY}}}}}", *, weights=HUB, runtime=True, android=True):
        text = TARGETS.replace("WEIGHTS", weights).replace("VARIANTS", variants)
        text = text if android else text.replace("  android: {kind: android, backends: [droid]}\n", "")
        path = tmp_path / "targets.yaml"
        path.write_text(text + ("runtime: {source: tvm, backends: [page]}\n" if runtime else ""))
        return {action.name: action for action in plan(load(path), {})}

    return make


def models(actions, product):
    return encode(actions[f"app_config:{product}"].params)["models"]


def test_a_model_of_the_hub_is_found_by_the_name_of_its_repository_and_downloaded(planned):
    (model,) = models(planned(), "apple")
    assert model == {
        "subject": "qwen3-q4",
        "model_id": "Qwen3-0.6B-q4f16_1-MLC",
        "model_lib": LIBRARY,
        "bundle_weight": False,
        "url": "https://huggingface.co/mlc-ai/Qwen3-0.6B-q4f16_1-MLC",
        "overrides": {},
    }


def test_records_are_made_of_the_library_and_the_config_and_of_nothing_larger(planned):
    edges = planned()["app_config:apple"].upstream
    assert edges == {
        "objects:qwen3-q4": Upstream("compile:qwen3-q4@ios", only=(f"{LIBRARY}_devc.o",)),
        "config:qwen3-q4": Upstream("weights:qwen3", only=("mlc-chat-config.json", "tokenizer*")),
    }


def test_a_page_gets_the_module_by_the_name_of_webllm(planned):
    variant = f"{{q4: {{model_lib: {LIBRARY}, overrides: {{context_window_size: 4096, prefill_chunk_size: 2048}}}}}}"
    actions = planned(variant)
    (model,) = models(actions, "web")
    file = "Qwen3-0.6B-q4f16_1-ctx4k_cs2k-webgpu.wasm"
    assert model["file"] == file
    assert model["url"] == "https://huggingface.co/mlc-ai/Qwen3-0.6B-q4f16_1-MLC/resolve/main/"
    assert actions["app_config:web"].upstream["module:qwen3-q4"] == Upstream("wasm:page", only=(file,))
    assert file in actions["wasm:page"].outputs


def test_without_a_runtime_there_is_no_module_and_no_record_of_one(planned):
    actions = planned(runtime=False)
    assert "app_config:web" not in actions
    assert "app_config:apple" in actions


def test_weights_that_no_app_could_download_are_shipped(planned):
    actions = planned(weights="{path: weights}", android=False)
    assert models(actions, "apple")[0]["bundle_weight"] is True
    assert models(actions, "apple")[0]["model_id"] == "qwen3-q4"
    assert actions["app_config:apple"].upstream["bundle:qwen3-q4"] == Upstream("bundle:qwen3-q4")
    with pytest.raises(MatrixError, match=r"no app could download them: they do not come from the hub"):
        planned(f"{{q4: {{model_lib: {LIBRARY}, bundle_weight: false}}}}", weights="{path: weights}", android=False)
    raw = "{q4: {conv_template: qwen3, quantization: q4f16_1}}"
    assert models(planned(raw, android=False), "apple")[0]["bundle_weight"] is True


def test_variants_that_share_a_repository_have_names_of_their_own(planned):
    two = "{a: {model_lib: library_a}, b: {model_lib: library_b}}"
    assert [model["model_id"] for model in models(planned(two), "apple")] == ["qwen3-a", "qwen3-b"]
    named = "{a: {model_lib: library_a, model_id: Mine}, b: {model_lib: library_b}}"
    ids = [model["model_id"] for model in models(planned(named), "apple")]
    assert ids == ["Mine", "Qwen3-0.6B-q4f16_1-MLC"]
    same = "{a: {model_lib: library_a, model_id: Mine}, b: {model_lib: library_b, model_id: mine}}"
    with pytest.raises(MatrixError, match="qwen3-a and qwen3-b have one model_id in product 'apple'"):
        planned(same)


def test_a_prefix_that_mlc_would_not_find_is_refused(planned):
    with pytest.raises(MatrixError, match="names that end in an underscore") as caught:
        planned("{q4: {system_lib_prefix: qwen3_without}}")
    assert "system_lib_prefix: qwen3_without_" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("model_id: a/b", "no model_id"),
        ("model_id: .hidden", "no model_id"),
        ("estimated_vram_bytes: -1", "`-1` is out of bounds"),
        ("estimated_vram_bytes: '1'", "integer"),
        ("bundle_weight: 'yes'", "expected true or false"),
        ("low_resource: true", "low_resource"),
    ],
)
def test_a_slip_in_what_apps_are_told_is_an_error_of_the_matrix(planned, option, what):
    with pytest.raises(MatrixError, match=what) as caught:
        planned(f"{{q4: {{{option}}}}}")
    assert "targets.yaml:6" in str(caught.value)


def prebuilt(tmp_path, variant):
    text = TARGETS.replace("compiler: mlc", "prebuilt: libs.tar\n    system_lib_prefix: their_qwen3_")
    (tmp_path / "targets.yaml").write_text(text.replace("WEIGHTS", HUB).replace("VARIANTS", variant))
    return {action.name: action for action in plan(load(tmp_path / "targets.yaml"), {})}


def test_a_prebuilt_model_has_a_record_where_it_has_a_model_id(planned, tmp_path):
    assert "app_config:apple" not in prebuilt(tmp_path, "{q4: {}}")
    actions = prebuilt(tmp_path, "{q4: {model_id: Theirs, estimated_vram_bytes: 5, mine: 1}}")
    (model,) = models(actions, "apple")
    assert (model["model_id"], model["model_lib"]) == ("Theirs", "their_qwen3")
    assert actions["compile:qwen3-q4@ios"].params.model.options == {"mine": 1}
    with pytest.raises(MatrixError, match="more than 0"):
        prebuilt(tmp_path, "{q4: {model_id: Theirs, estimated_vram_bytes: 0}}")


def test_what_only_apps_are_told_recompiles_nothing(planned):
    one, other = planned(), planned(f"{{q4: {{model_lib: {LIBRARY}, model_id: Mine, estimated_vram_bytes: 7}}}}")
    differing = {name for name in one if one[name].params != other[name].params}
    assert differing == {"app_config:apple", "app_config:android", "app_config:web", "wasm:page"}


def test_the_address_of_a_page_is_for_pages(planned, tmp_path):
    planned()
    text = (tmp_path / "targets.yaml").read_text()
    text = text.replace(
        "{kind: web, backends: [page]}", '{kind: web, backends: [page], base_url: "https://x.example/ai/"}'
    )
    (tmp_path / "targets.yaml").write_text(text)
    actions = {action.name: action for action in plan(load(tmp_path / "targets.yaml"), {})}
    assert actions["app_config:web"].params.base_url == "https://x.example/ai/"
    for wrong, what in (("https://x.example/ai", "address of a directory"), ("ai/", "address of a directory")):
        (tmp_path / "targets.yaml").write_text(text.replace("https://x.example/ai/", wrong))
        with pytest.raises(MatrixError, match=what):
            load(tmp_path / "targets.yaml")
    moved = text.replace("kind: web, backends: [page]", "kind: native, backends: [droid]")
    (tmp_path / "targets.yaml").write_text(moved)
    with pytest.raises(MatrixError, match="not fetched by pages"):
        load(tmp_path / "targets.yaml")
