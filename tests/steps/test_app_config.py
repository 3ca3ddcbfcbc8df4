"""The step app_config: records of MLC's apps and WebLLM, and one copy of the weights they speak of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.documents.codec import encode
from pipeline.documents.memory import Memory
from pipeline.errors import StepError
from pipeline.kits import webllm
from pipeline.steps import app_config

METADATA = {
    "model_type": "qwen3", "quantization": "q4f16_1", "context_window_size": 64, "sliding_window_size": -1,
    "params": [{"name": "w", "shape": [10, 2], "dtype": "float16"}], "memory_usage": {"prefill": 1000, "decode": 7},
}  # fmt: skip
CHAT = {
    "model_type": "qwen3", "quantization": "q4f16_1", "tokenizer_files": ["tokenizer.json", "vocab.json"],
    "model_config": {
        "num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 3, "context_window_size": 64,
        "prefill_chunk_size": 64, "max_batch_size": 4,
    },
}  # fmt: skip
NEED = 10 * 2 * 2 + 1000 + 2 * 2 * (1 * 2 * 3) * 64
URL = "https://huggingface.co/mlc-ai/Qwen3-0.6B-q4f16_1-MLC"
FILE = "Qwen3-0.6B-q4f16_1-ctx4k_cs2k-webgpu.wasm"


@pytest.fixture
def run(job, tmp_path):
    """Run the step on one model; return its outputs as JSON documents and paths, and its facts."""
    folders = {name: tmp_path / name for name in ("objects", "config", "bundle", "module")}
    for folder in folders.values():
        folder.mkdir()
    (folders["objects"] / "qwen3_devc.o").write_bytes(b"\0code\0" + json.dumps(METADATA).encode() + b"\0more")
    (folders["config"] / "mlc-chat-config.json").write_text(json.dumps(CHAT))
    (folders["config"] / "tokenizer.json").write_text("{}")
    (folders["bundle"] / "params_shard_0.bin").write_bytes(b"\1" * 5000)
    (folders["bundle"] / "sub").mkdir()
    (folders["bundle"] / "sub" / "more.json").write_text("1")
    (folders["module"] / FILE).write_bytes(b"\0asm")

    def make(kind="xcframework", *, base_url=None, **changes):
        model = {
            "subject": "qwen3-q4", "model_id": "Qwen3", "model_lib": "qwen3_q4f16_1_x", "bundle_weight": False,
            "url": URL,
            "estimated_vram_bytes": None, "file": FILE, "quantization": None, "low_resource_required": None,
            "overrides": {"context_window_size": 4096, "prefill_chunk_size": 2048}, **changes,
        }  # fmt: skip
        inputs = {f"{role}:qwen3-q4": folder for role, folder in folders.items()}
        made = job({"kind": kind, "base_url": base_url, "models": [model]}, inputs)
        facts = app_config.run(made)
        name = "webllm-model-list.json" if kind == "web" else "bundle/mlc-app-config.json"
        return json.loads((made.out / name).read_text())["model_list"], made.out, facts

    make.folders = folders
    return make


@pytest.fixture
def sharing(job, tmp_path):
    """Run the step on a base and a fine-tune that uses its library, whose config is another by some changes."""

    def make(**changes):
        for subject, chat in (("base", CHAT), ("tuned", CHAT | changes)):
            folder = tmp_path / subject
            (folder / "objects").mkdir(parents=True)
            (folder / "objects" / "x_devc.o").write_bytes(json.dumps(METADATA).encode() + b"\0")
            (folder / "mlc-chat-config.json").write_text(json.dumps(chat))
        inputs = {f"config:{one}": tmp_path / one for one in ("base", "tuned")}
        inputs |= {f"objects:{one}": tmp_path / one / "objects" for one in ("base", "tuned")}
        of_both = {"model_lib": "one_x", "bundle_weight": False, "url": URL, "overrides": {"max_batch_size": 1}}
        models = [
            {"subject": "base", "model_id": "Base", **of_both},
            {"subject": "tuned", "model_id": "Tuned", "library_of": "base", **of_both},
        ]
        made = job({"kind": "xcframework", "base_url": None, "models": models}, inputs)
        app_config.run(made)
        return json.loads((made.out / "bundle/mlc-app-config.json").read_text())["model_list"]

    return make


def test_a_fine_tune_uses_the_library_of_its_base(sharing):
    first, second = sharing(temperature=0.2)
    assert (first["model_lib"], second["model_lib"]) == ("one_x", "one_x")


def test_a_fine_tune_that_needs_another_library_is_refused(sharing):
    with pytest.raises(StepError, match=r"base and tuned are to have one library.*: head_dim \(3, 4\)"):
        sharing(model_config={**CHAT["model_config"], "head_dim": 4})


def test_an_app_of_mlc_reads_the_record(run):
    (record,), out, facts = run()
    assert record == {
        "model_id": "Qwen3", "model_lib": "qwen3_q4f16_1_x", "model_url": URL, "estimated_vram_bytes": NEED
    }  # fmt: skip
    assert [path.name for path in (out / "bundle").iterdir()] == ["mlc-app-config.json"]
    assert facts["memory"]["qwen3-q4"] == encode(Memory(40, 1000, NEED - 1040))
    text = (out / "bundle/mlc-app-config.json").read_text()
    assert text.startswith('{\n  "model_list": [\n    {\n      "model_id"')
    assert text.endswith("}\n")


def test_shipped_weights_are_beside_the_record_and_no_copy(run):
    (record,), out, facts = run(bundle_weight=True)
    assert (record["model_path"], "model_url" in record) == ("Qwen3", False)
    one, other = run.folders["bundle"] / "params_shard_0.bin", out / "bundle/Qwen3/params_shard_0.bin"
    assert (one.stat().st_ino, one.stat().st_nlink) == (other.stat().st_ino, 2)
    assert (out / "bundle/Qwen3/sub/more.json").read_text() == "1"
    assert facts["bundled"] == ["qwen3-q4"]


def test_on_android_mlc_wants_an_address_where_there_is_one(run):
    assert run("android", bundle_weight=True)[0][0]["model_url"] == URL
    (record,), out, _ = run("android", bundle_weight=True, url=None)
    assert (record["model_url"], "model_path" in record) == ("Qwen3", False), "as `mlc_llm package` writes it"
    assert (out / "bundle/Qwen3/params_shard_0.bin").is_file()


def test_a_record_that_its_reader_would_stumble_over_is_not_written(run):
    with pytest.raises(StepError, match=r"is none for MLC's iOS app: it has none of model_path, model_url"):
        run(url=None)


def chat_of(run, **changes):
    (run.folders["config"] / "mlc-chat-config.json").write_text(json.dumps(CHAT | changes))


def library_of(run, **changes):
    (run.folders["objects"] / "qwen3_devc.o").write_bytes(json.dumps(METADATA | changes).encode() + b"\0")


def test_a_context_window_beyond_the_models_own(run):
    library_of(run, context_window_size=65)
    with pytest.raises(StepError, match=r"a context window of 65 tokens, and the model's own is 64") as caught:
        run()
    assert "`estimated_vram_bytes`" in caught.value.hint
    assert run(estimated_vram_bytes=5)[0][0]["estimated_vram_bytes"] == 5
    chat_of(run, model_config=CHAT["model_config"] | {"max_position_embeddings": 65})
    assert run()[0][0]["estimated_vram_bytes"] > NEED


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"model_task": "embedding"}, 1),
        ({"model_type": "bert"}, 1),
        ({"model_type": "phi3_v"}, 2),
        ({"model_config": CHAT["model_config"] | {"vision_config": {}}}, 2),
    ],
)
def test_webllm_is_told_what_a_model_is_for(run, changes, kind):
    chat_of(run, **changes)
    assert run("web")[0][0].get("model_type") == kind


@pytest.mark.parametrize(
    ("overrides", "both", "said"),
    [
        ({"context_window_size": 64}, True, {"context_window_size": 64, "sliding_window_size": -1}),
        ({"sliding_window_size": 32}, False, {"sliding_window_size": 32, "context_window_size": -1}),
        ({}, True, {"sliding_window_size": -1}),
        ({"sliding_window_size": -1}, True, {"sliding_window_size": -1}),
        ({"prefill_chunk_size": 32}, False, None),
    ],
)
def test_webllm_gets_one_window(run, overrides, both, said):
    chat_of(run, context_window_size=64, sliding_window_size=32 if both else -1)
    assert run("web", overrides=overrides)[0][0].get("overrides") == said


def test_what_targets_yaml_says_of_the_memory_is_what_the_record_says(run):
    assert run(estimated_vram_bytes=3_000_000_000)[0][0]["estimated_vram_bytes"] == 3_000_000_000


def test_webllm_reads_the_record(run):
    (record,), out, _ = run("web")
    assert record == {
        "model": URL,
        "model_id": "Qwen3",
        "model_lib": f"wasm/{FILE}",
        "overrides": {"context_window_size": 4096},
        "vram_required_MB": round(NEED / webllm.MIB, 2),
        "low_resource_required": True,
        "required_features": ["shader-f16"],
        "integrity": {
            "config": webllm.sri(run.folders["config"] / "mlc-chat-config.json"),
            "model_lib": webllm.sri(run.folders["module"] / FILE),
            "tokenizer": {"tokenizer.json": webllm.sri(run.folders["config"] / "tokenizer.json")},
        },
    }
    assert [path.name for path in out.iterdir()] == ["webllm-model-list.json"]


def test_a_page_gets_shipped_weights_where_webllm_looks_for_them(run):
    (record,), out, _ = run("web", base_url="https://example.com/ai/", bundle_weight=True)
    assert re.fullmatch(r"https://example\.com/ai/models/Qwen3/resolve/[0-9a-f]{16}/", record["model"])
    assert re.fullmatch(rf"https://example\.com/ai/wasm/{re.escape(FILE)}\?sha256=[0-9a-f]{{16}}", record["model_lib"])
    place = out / record["model"].removeprefix("https://example.com/ai/")
    one, other = run.folders["bundle"] / "params_shard_0.bin", place / "params_shard_0.bin"
    assert one.stat().st_ino == other.stat().st_ino


def test_an_address_says_which_bytes(run):
    """WebLLM caches by address, and never asks again."""

    def addresses():
        (record,), _, _ = run("web", base_url="https://example.com/ai/", bundle_weight=True)
        return record["model"], record["model_lib"]

    weights, module = addresses()
    assert addresses() == (weights, module)
    (run.folders["bundle"] / "params_shard_0.bin").write_bytes(b"\2" * 5000)
    others = addresses()
    assert (others[0] != weights, others[1]) == (True, module)
    (run.folders["module"] / FILE).write_bytes(b"\0asm\1")
    assert (addresses()[0], addresses()[1] != module) == (others[0], True)


@pytest.mark.parametrize("listed", [[], ["vocab.json", "merges.txt"]], ids=str)
def test_webllm_loads_no_other_tokenizer(run, listed):
    chat_of(run, tokenizer_files=listed)
    with pytest.raises(StepError, match=r"list none of tokenizer\.json, tokenizer\.model"):
        run("web", bundle_weight=True)
    assert run(bundle_weight=True)[0]  # a native app may have another


def test_without_an_address_of_ours_folders_have_the_name_that_webllm_asks_for(run):
    (record,), out, _ = run("web", bundle_weight=True)
    assert (record["model"], record["model_lib"]) == ("models/Qwen3/resolve/main/", f"wasm/{FILE}")
    assert (out / record["model"] / "params_shard_0.bin").is_file()


def test_nobody_says_how_much_memory_a_model_takes(run):
    (run.folders["objects"] / "qwen3_devc.o").write_bytes(b"\0nothing\0")
    with pytest.raises(StepError, match="does not say how much memory") as caught:
        run()
    assert "estimated_vram_bytes" in str(caught.value)
    (record,), _, facts = run(estimated_vram_bytes=5)
    assert record["estimated_vram_bytes"] == 5
    assert facts["memory"] == {"qwen3-q4": None}


@pytest.mark.parametrize(("text", "what"), [(None, "have no mlc-chat"), ("{", "is not JSON"), ("[]", "no JSON object")])
def test_a_config_that_cannot_be_read(run, text, what):
    path: Path = run.folders["config"] / "mlc-chat-config.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(StepError, match=what):
        run()
