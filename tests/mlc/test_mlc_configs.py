"""Each kind of model has the name that its own configuration class in mlc_llm leads to."""

from __future__ import annotations

import pytest
from mlc_projects import CHAT

from pipeline.compilers import mlc, mlc_configs, mlc_names
from pipeline.compilers.lowered import Reported
from pipeline.compilers.mlc_names import MlcOptions
from pipeline.errors import StepError

WINDOW = {"context_window_size": 2048, "prefill_chunk_size": 4096}
SIZES = {"vocab_size": 32, "max_batch_size": 80, "tensor_parallel_shards": 1}

GEMMA2 = {
    "hidden_size": 2304, "intermediate_size": 9216, "attention_bias": False, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "num_hidden_layers": 26, "rms_norm_eps": 1e-06, "vocab_size": 256000,
    "hidden_activation": "gelu_pytorch_tanh", "position_embedding_base": 10000.0, "context_window_size": 4096,
    "prefill_chunk_size": 2048, "tensor_parallel_shards": 1, "max_batch_size": 80, "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 256, "sliding_window": 4096,
}  # fmt: skip
MISTRAL = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32,
    "rms_norm_eps": 1e-05, "vocab_size": 32768, "position_embedding_base": 1000000.0, "num_key_value_heads": 8,
    "head_dim": 128, "context_window_size": 32768, "sliding_window_size": -1, "prefill_chunk_size": 2048,
    "attention_sink_size": 4, "tensor_parallel_shards": 1, "max_batch_size": 80,
}  # fmt: skip
QWEN2 = {
    "hidden_act": "silu", "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
    "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "vocab_size": 151936, "tie_word_embeddings": True, "context_window_size": 32768, "prefill_chunk_size": 2048,
    "tensor_parallel_shards": 1, "head_dim": 128, "dtype": "float32", "max_batch_size": 80,
}  # fmt: skip
PHI3 = {
    "model_type": "phi3", "hidden_size": 3072, "vocab_size": 32064, "num_hidden_layers": 32, "num_attention_heads": 32,
    "intermediate_size": 8192, "rms_norm_eps": 1e-05, "num_key_value_heads": 32, "max_position_embeddings": 131072,
    "position_embedding_base": 10000.0, "rope_scaling": {"type": "su", "short_factor": [1.0]},
    "original_max_position_embeddings": 4096, "context_window_size": 131072, "prefill_chunk_size": 2048,
    "head_dim": 96, "tensor_parallel_shards": 1, "max_batch_size": 80,
}  # fmt: skip
GEMMA3_TEXT = {
    "hidden_size": 640, "num_attention_heads": 4, "position_embedding_base": 10000, "rope_scaling": 0,
    "context_window_size": 8192, "prefill_chunk_size": 8192, "sliding_window_size": 512,
    "kwargs": {"sliding_window": 512},
}  # fmt: skip
GEMMA3 = {
    "text_config": GEMMA3_TEXT, "context_window_size": 8192, "sliding_window_size": 512, "prefill_chunk_size": 2048,
    "is_text_model": True, **SIZES,
}  # fmt: skip


def chat(model_type, model_config):
    """A converted model's file: its top level repeats some of `model_config`."""
    same = {key: model_config[key] for key in ("context_window_size", "prefill_chunk_size") if key in model_config}
    return {"model_type": model_type, "quantization": "q4f16_1", "model_config": dict(model_config), **same}


def effective(model_type, model_config, **overrides):
    return mlc_names.effective_config(chat(model_type, model_config), overrides)


@pytest.mark.parametrize(
    ("model_type", "config", "device", "overrides", "name"),
    [
        ("gemma2", GEMMA2, "android", {}, "5cc7dbd3ae3d1040984d9720b2d7b7d4"),
        ("gemma2", GEMMA2, "iphone", {"prefill_chunk_size": 128}, "779a95d4ef785ea159992d38fac2317f"),
        (
            "gemma2", GEMMA2, "iphone", {"context_window_size": 2048, "prefill_chunk_size": 128},
            "ecfac260ae42d6b1cbbc1df9599433e8",
        ),
        (
            "mistral", MISTRAL, "android", {"sliding_window_size": 768, "prefill_chunk_size": 256},
            "c2cba77a6def4dd52f7e20b5d8576ab5",
        ),
        ("qwen2", QWEN2, "android", {}, "2e221f430380225c03990ad24c3d030e"),
        (
            "qwen2", QWEN2, "iphone", {"context_window_size": 2048, "prefill_chunk_size": 128},
            "11da1300cac0945ff40dfee7b8c81b68",
        ),
    ],
)  # fmt: skip
def test_names_that_apps_have(model_type, config, device, overrides, name):
    """All but the third are in published apps; that one was computed with mlc_llm's own class."""
    made = mlc_names.model_lib(
        effective(model_type, config, **overrides),
        model_type=model_type, quantization="q4f16_1", device=device, overrides=overrides,
    )  # fmt: skip
    assert made == f"{model_type}_q4f16_1_{name}"


@pytest.mark.parametrize(
    ("model_type", "config", "changed"),
    [
        ("gemma2", GEMMA2, {"context_window_size": 4096, "prefill_chunk_size": 2048}),  # the sliding window wins
        ("mistral", MISTRAL, WINDOW),  # nothing is cut
        ("ministral3", MISTRAL, WINDOW),
        ("cohere", {**SIZES, "context_window_size": 8192, "prefill_chunk_size": 2048}, WINDOW),
        ("rwkv6", {**SIZES, "context_window_size": -1, "prefill_chunk_size": 4096}, WINDOW),
        ("medusa", {**SIZES, "context_window_size": -1, "prefill_chunk_size": -1}, WINDOW),
        ("gemma3", GEMMA3, WINDOW),
        ("gemma3_text", GEMMA3, WINDOW),
        ("bert", {**SIZES, "context_window_size": 512, "prefill_chunk_size": 512}, {"prefill_chunk_size": 2048}),
        ("qwen3-embedding", {**SIZES, "context_window_size": 4096, "prefill_chunk_size": 2048},
         {"prefill_chunk_size": 2048}),
        ("qwen2", QWEN2, {"prefill_chunk_size": 2048}),
    ],
)  # fmt: skip
def test_a_window_below_the_prefill_chunk(model_type, config, changed):
    found = effective(model_type, config, **WINDOW)
    assert {key: found[key] for key in changed} == changed


def test_small_chunks_are_cut_to_2048_and_others_to_8192():
    wide = {"context_window_size": 16384, "prefill_chunk_size": 32768}
    config = {**SIZES, **wide}
    assert effective("qwen3-embedding", config)["prefill_chunk_size"] == 2048
    assert effective("olmo2", config)["prefill_chunk_size"] == 8192
    assert effective("bert-bge", config)["prefill_chunk_size"] == 16384


def test_phi3_of_2024_has_the_fields_that_came_later():
    now = {**PHI3, "tie_word_embeddings": False, "partial_rotary_factor": 1.0}
    assert effective("phi3", PHI3) == effective("phi3", now)
    assert effective("phi3", PHI3)["model_type"] == "phi3"
    assert effective("phi3", PHI3)["rope_scaling"] == {
        "type": "longrope", "rope_type": "longrope", "short_factor": [1.0], "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
    }  # fmt: skip


def test_what_mlc_would_refuse_has_no_name():
    old = {key: value for key, value in PHI3.items() if key != "max_position_embeddings"}
    with pytest.raises(StepError, match="asks for max_position_embeddings") as caught:
        effective("phi3", old)
    assert "`model_lib`" in str(caught.value)
    with pytest.raises(StepError, match="refuses a context window of 0"):
        effective("qwen2", QWEN2, context_window_size=0)


def test_a_kind_of_model_that_is_not_known_has_no_name():
    with pytest.raises(StepError, match="of kind 'hypermodel' is not known here") as caught:
        effective("hypermodel", QWEN2)
    assert "give the variant a `model_lib`" in str(caught.value)


def test_gemma_from_before_its_activation_was_renamed():
    old = {key: value for key, value in GEMMA2.items() if key != "hidden_activation"}
    assert effective("gemma2", {**old, "hidden_act": "gelu_pytorch_tanh"}) == effective("gemma2", GEMMA2)


def test_gemma3_changes_the_model_inside():
    inside = effective("gemma3", {**GEMMA3, "text_config": {**GEMMA3_TEXT, "context_window_size": 4096}})["text_config"]
    assert (inside["context_window_size"], inside["prefill_chunk_size"]) == (8192, 4096)


@pytest.mark.parametrize("model_type", sorted(mlc_configs.CLASSES))
def test_settling_twice_is_settling_once(model_type):
    known = mlc_configs.CLASSES[model_type]
    config = {
        **QWEN2, **MISTRAL, **PHI3, **GEMMA2, **known.later, **dict.fromkeys(known.required, 1),
        "text_config": GEMMA3_TEXT,
    }  # fmt: skip
    once = mlc_configs.effective(model_type, config, WINDOW)
    assert mlc_configs.effective(model_type, once, {}) == once


def reported(**changes):
    config = mlc_names.effective_config(CHAT, {})
    return Reported({**config, **changes}, "llama", "q0f32")


@pytest.mark.parametrize("device", ["iphone", "macabi", "android", "webgpu"])
def test_the_name_is_held_against_that_of_the_mlc_that_compiles(device):
    own = mlc_names.model_lib(mlc_names.effective_config(CHAT, {}), model_type="llama", quantization="q0f32",
                              device=device)  # fmt: skip
    mlc.check_name(mlc_names.prefix(own), mlc.library_names(reported(), MlcOptions(), device), device)
    with pytest.raises(StepError, match="this mlc_llm calls the library llama_q0f32_") as caught:
        mlc.check_name(mlc_names.prefix(own), mlc.library_names(reported(a_new_field=1), MlcOptions(), device), device)
    assert "`model_lib: llama_q0f32_" in str(caught.value)


def test_a_name_of_the_users_is_held_against_nothing():
    mlc.check_name("mine_", mlc.library_names(reported(), MlcOptions(), None), None)
    mlc.check_name("mine_", mlc.library_names(Reported(), MlcOptions(), "iphone"), "iphone")
