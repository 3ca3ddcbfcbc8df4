"""What a model takes on a GPU, held against what WebLLM publishes."""

from __future__ import annotations

import pytest

from pipeline.compilers.mlc_memory import cache_bytes_per_token, memory
from pipeline.documents.memory import Memory

MIB = 1 << 20
PHI = {"num_hidden_layers": 32, "num_key_value_heads": 32, "head_dim": 96}
GEMMA = {"num_hidden_layers": 26, "num_key_value_heads": 4, "head_dim": 256}


@pytest.mark.parametrize(
    ("config", "quantization", "at_4096", "at_1024"),
    [
        (PHI, "q4f16_1", 3672.07, 2520.07),  # Phi-3.5-mini-instruct-q4f16_1-MLC and …-1k
        (PHI, "q4f32_1", 5483.12, 3179.12),
        (GEMMA, "q4f16_1", 1895.30, 1583.30),  # gemma-2-2b-it-q4f16_1-MLC and …-1k
    ],
)
def test_the_cache_of_a_window_is_what_two_published_sizes_differ_by(config, quantization, at_4096, at_1024):
    one = cache_bytes_per_token(config, quantization)
    assert one is not None
    assert one * (4096 - 1024) / MIB == pytest.approx(at_4096 - at_1024)


METADATA = {
    "quantization": "q4f16_1",
    "context_window_size": 100,
    "sliding_window_size": -1,
    "attention_sink_size": -1,
    "kv_state_kind": "kv_cache",
    "params": [
        {"name": "a", "shape": [4, 8], "dtype": "uint32"},
        {"name": "b", "shape": ["vocab_size", 2], "dtype": "float16"},
        {"name": "c", "shape": [-1], "dtype": "float32"},
    ],
    "memory_usage": {"prefill": 500, "decode": 40},
}
CHAT = {"vocab_size": 3, "model_config": {"num_hidden_layers": 2, "num_key_value_heads": 3, "head_dim": 5}}


def test_parameters_temporaries_and_cache():
    found = memory(METADATA, CHAT)
    assert found == Memory(parameters=4 * 8 * 4 + 3 * 2 * 2, temporary=500, cache=2 * 2 * (2 * 3 * 5) * 100)
    assert found.total == 140 + 500 + 12_000


@pytest.mark.parametrize(
    ("change", "cache"),
    [
        ({"sliding_window_size": 10, "attention_sink_size": 4}, 120 * 14),
        ({"kv_state_kind": "rnn_state"}, 0),
        ({"quantization": "q4f32_1"}, 240 * 100),
        ({"context_window_size": -1}, None),
    ],
)
def test_which_cache_a_model_keeps(change, cache):
    found = memory({**METADATA, **change}, CHAT)
    assert (found.cache, found.at_least) == (cache or 0, cache is None)


def test_gemma3_keeps_the_whole_context_and_only_its_library_says_of_what():
    sizes = {"num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256}
    metadata = {
        **METADATA, "model_type": "gemma3_text", "kv_cache": sizes, "context_window_size": 8192,
        "sliding_window_size": 512,
    }  # fmt: skip
    chat = {"vocab_size": 3, "model_config": {"text_config": {}}}
    assert memory(metadata, chat).cache == 2 * 2 * (18 * 1 * 256) * 8192
    assert memory({**metadata, "kv_cache": {}}, chat).at_least


def test_a_config_that_does_not_say_enough_gives_a_sum_without_the_cache():
    found = memory(METADATA, {"vocab_size": 3})
    assert found.at_least
    assert found.total == 640
