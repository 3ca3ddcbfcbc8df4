"""How much memory a model of mlc_llm's takes on a GPU, from what is written in its library and its config.

`app_config` asks, for apps that check before they load. It is the sum in mlc_llm's own report: parameters, the largest
temporaries of any function, and the key-value cache of one full window. What a driver adds is not in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.documents.chat_config import model_config
from pipeline.documents.memory import Memory

_CACHE_FIELDS = ("num_hidden_layers", "num_key_value_heads", "head_dim")
_BITS = re.compile(r"\d+")
_WITHOUT_CACHE = frozenset({"none", "rnn_state"})
"""Values of `kv_state_kind` for models that keep no keys and values."""

_SLIDING_LAYERS = frozenset({"gemma3", "gemma3_text"})
"""Kinds of model in which a sliding window is that of some layers: the cache is allocated for the whole context."""


def memory(metadata: Mapping[str, object], chat: Mapping[str, object]) -> Memory:
    """What a model needs, by its library's metadata (see `mlc_metadata`) and its `mlc-chat-config.json`.

    It is `at_least` that where the config does not say how large its cache is.

    Raises:
        TypeError, ValueError, KeyError: the metadata is of another form.
    """
    config = {**chat, **model_config(chat)}
    listed, usage = metadata.get("params", ()), metadata.get("memory_usage", {})
    if not isinstance(listed, Sequence) or not isinstance(usage, Mapping):
        raise TypeError("`params` is no list, or `memory_usage` no object")
    cache = _cache(metadata, config)
    return Memory(
        parameters=sum(_parameter(parameter, config) for parameter in listed),
        temporary=max(map(int, usage.values()), default=0),
        cache=cache or 0,
        at_least=cache is None,
    )


def own_window(chat: Mapping[str, object]) -> int | None:
    """The longest context that a model was made or converted for, in tokens; None where its config does not say."""
    config = {**chat, **model_config(chat)}
    said = (chat.get("context_window_size"), config.get("context_window_size"), config.get("max_position_embeddings"))
    return max((size for size in said if isinstance(size, int) and size > 0), default=None)


def cache_bytes_per_token(config: Mapping[str, object], quantization: str) -> int | None:
    """Bytes of keys and values for one token; None where the config lacks one of the sizes.

    The config is `model_config` of `mlc-chat-config.json`, or `kv_cache` of the library's metadata; the quantization
    says in which floats the model computes, and keeps them.
    """
    sizes = [size for name in _CACHE_FIELDS if isinstance(size := config.get(name), int)]
    width = 4 if "f32" in quantization else 2
    return 2 * width * math.prod(sizes) if len(sizes) == len(_CACHE_FIELDS) else None


def _cache(metadata: Mapping[str, object], config: Mapping[str, object]) -> int | None:
    if metadata.get("kv_state_kind") in _WITHOUT_CACHE:
        return 0
    said = metadata.get("kv_cache")  # the library says what it allocates; older ones do not
    sizes = {**config, **said} if isinstance(said, Mapping) else config
    one = cache_bytes_per_token(sizes, str(metadata.get("quantization")))
    sliding = metadata.get("sliding_window_size", -1)
    tokens, sink = metadata.get("context_window_size"), metadata.get("attention_sink_size")
    layers_slide = str(metadata.get("model_type")) in _SLIDING_LAYERS
    if isinstance(sliding, int) and sliding > 0 and not layers_slide:
        tokens = sliding + max(0, sink if isinstance(sink, int) else 0)
    return one * tokens if one is not None and isinstance(tokens, int) and tokens > 0 else None


def _parameter(parameter: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Bytes of one parameter; a dimension that is a name stands for that value of the config."""
    shape = [config.get(size, 0) if isinstance(size, str) else size for size in parameter["shape"]]
    bits = _BITS.search(parameter["dtype"])
    width = int(bits[0]) if bits else 8
    return math.prod(max(0, int(size)) for size in shape) * width // 8
