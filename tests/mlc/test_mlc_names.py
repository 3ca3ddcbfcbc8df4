"""Names of libraries equal those that mlc_llm gives: held against names that were published."""

from __future__ import annotations

import pytest

from pipeline.compilers import mlc_names
from pipeline.errors import StepError

SMALL = {
    "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 3072, "attention_bias": False,
    "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000, "vocab_size": 151936, "tie_word_embeddings": True, "context_window_size": 40960,
    "prefill_chunk_size": 2048, "tensor_parallel_shards": 1, "head_dim": 128, "dtype": "float32",
    "max_batch_size": 128, "weight_block_size": None,
}  # fmt: skip
LARGER = {**SMALL, "hidden_size": 2048, "intermediate_size": 6144}
OVERRIDES = {"prefill_chunk_size": 128, "context_window_size": 2048}


def chat(config, quantization):
    """What `mlc-chat-config.json` of the published checkpoint says, as far as it matters."""
    return {
        "version": "0.1.0", "model_type": "qwen3", "quantization": quantization, "model_config": config,
        "vocab_size": 151936, "context_window_size": 40960, "sliding_window_size": -1, "prefill_chunk_size": 2048,
        "attention_sink_size": -1, "tensor_parallel_shards": 1, "temperature": 0.6, "tokenizer_files": [],
    }  # fmt: skip


def named(config, quantization, device):
    told = chat(config, quantization)
    effective = mlc_names.effective_config(told, OVERRIDES)
    return mlc_names.model_lib(
        effective, model_type="qwen3", quantization=quantization, device=device, overrides=OVERRIDES
    )


@pytest.mark.parametrize(
    ("config", "quantization", "device", "published"),
    [
        (SMALL, "q4f16_1", "iphone", "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2"),
        (LARGER, "q4f16_1", "android", "qwen3_q4f16_1_1431bce2"),
        (SMALL, "q0f16", "android", "qwen3_q0f16_e709b040"),
    ],
)
def test_names_are_those_that_were_published(config, quantization, device, published):
    name = named(config, quantization, device)
    assert name.startswith(published)
    assert len(name) == len(f"qwen3_{quantization}_") + 32


def test_a_config_from_before_a_field_was_added_gives_the_same_name():
    old = {key: value for key, value in SMALL.items() if key not in {"dtype", "weight_block_size"}}
    assert named(old, "q4f16_1", "iphone") == named(SMALL, "q4f16_1", "iphone")


@pytest.mark.parametrize("change", ["device", "overrides", "opt", "quantization", "config"])
def test_every_part_of_the_key_changes_the_name(change):
    base = {"model_type": "qwen3", "quantization": "q4f16_1", "device": "iphone", "overrides": {}, "opt": "O2"}
    other = {"device": "macabi", "overrides": {"max_batch_size": 4}, "opt": "O3", "quantization": "q4f32_1"}
    config = SMALL if change != "config" else LARGER
    changed = base | ({change: other[change]} if change in other else {})
    assert mlc_names.model_lib(SMALL, **base) != mlc_names.model_lib(config, **changed)


def test_overrides_are_in_the_order_of_mlc_and_without_what_means_unset():
    given = {"prefill_chunk_size": 1, "context_window_size": 2, "sliding_window_size": -1, "max_batch_size": -1}
    assert mlc_names.overrides_text(given) == "context_window_size=2;prefill_chunk_size=1;max_batch_size=-1"
    assert mlc_names.overrides_text({"opt": "O0", "disaggregation": None}) == ""


def test_flags_are_written_out():
    default = "flashinfer=1;cublas_gemm=1;faster_transformer=0;cudagraph=1;cutlass=1;ipc_allreduce_strategy=NONE"
    assert mlc_names.opt_text("O2") == default
    spelt = "flashinfer=0;cublas_gemm=0;faster_transformer=0;cudagraph=1;cutlass=0;ipc_allreduce_strategy=AUTO"
    assert mlc_names.opt_text("ipc_allreduce_strategy=AUTO;cudagraph=1;flashinfer=0") == spelt
    with pytest.raises(StepError, match="flashinfr=1"):
        mlc_names.opt_text("flashinfr=1")


def test_a_chunk_larger_than_the_window_is_cut_as_mlc_does():
    cut = mlc_names.effective_config(chat(SMALL, "q4f16_1"), {"context_window_size": 1024})
    assert cut["prefill_chunk_size"] == 1024
    llama = {"model_type": "llama", "model_config": {"context_window_size": 9000, "prefill_chunk_size": 10000}}
    assert mlc_names.effective_config(llama, {})["prefill_chunk_size"] == 8192


def test_the_prefix_ends_in_an_underscore_and_has_no_hyphens():
    assert mlc_names.prefix("phi-msft_q4f16_1") == "phi_msft_q4f16_1_"
