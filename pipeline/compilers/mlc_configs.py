"""What mlc_llm's configuration classes make of a `mlc-chat-config.json`, kind of model by kind of model.

The name of a library is over every field of such a class (`mlc_names`), and classes change their own fields: some cut
the prefill chunk to the window, Gemma 2 puts its sliding window in the place of any other. `effective` does what
`from_dict(…).asdict()` of mlc_llm at 79d603f0 does, without it. A kind of model that is not listed here has no name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

from pipeline.errors import StepError

Fields = dict[str, Any]
"""Numbers, texts and whatever else a class of mlc_llm's has."""

_SMALL = 2048
"""Tokens of a prefill chunk that some classes cut to, where the others have 8192."""

_NAME_IT = "give the variant a `model_lib`"
_SAY_IT = "give the variant a `model_lib`; or convert the weights again with mlc_llm gen_config"


@dataclass(frozen=True)
class ConfigClass:
    """One configuration class.

    Attributes:
        settle: what its `__post_init__` does to the fields of a converted model.
        later: fields that it got after the first checkpoints had been converted, with their defaults: an older file
            lacks them, and they are part of the name all the same.
        required: such fields without a default: mlc_llm refuses a file that lacks them.
        gone: fields that it has no more.
    """

    settle: Callable[[Fields], None]
    later: Mapping[str, object] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def effective(model_type: str, model_config: Mapping[str, object], changes: Mapping[str, object]) -> Fields:
    """Every field of the class, as mlc_llm has it when it compiles.

    Args:
        model_type: as `mlc-chat-config.json` says it.
        model_config: that part of the file.
        changes: what is laid over it: the file's top level, then overrides. What is no field is dropped.

    Raises:
        StepError: it is no kind of model that is known here, or one that mlc_llm would refuse.
    """
    known = CLASSES.get(model_type)
    if known is None:
        what = f"how mlc_llm names libraries of kind {model_type!r} is not known here"
        near = get_close_matches(model_type, CLASSES, n=1)
        raise StepError(what, hint=f"did you mean {near[0]!r}? Else {_NAME_IT}" if near else _NAME_IT)
    fields = {**known.later, **model_config}
    missing = [name for name in known.required if name not in fields]
    if missing:
        what = f"mlc_llm asks for {', '.join(missing)} in the `model_config` of a {model_type}, and it is not there"
        raise StepError(what, hint=_SAY_IT)
    config = {name: changes.get(name, value) for name, value in fields.items() if name not in {"kwargs", *known.gone}}
    known.settle(config)
    return config


def _nothing(config: Fields) -> None:
    """A class that takes what it is given."""


def _chunk(config: Fields, most: int = 8192) -> None:
    """The prefill chunk, cut where it would exceed the context window."""
    window = config["context_window_size"]
    if window == 0:
        window = config.get("max_position_embeddings") or config.get("n_positions")
        if not window:
            raise StepError("mlc_llm refuses a context window of 0", hint="remove `context_window_size: 0`")
        config["context_window_size"] = window
    chunk = config["prefill_chunk_size"]
    if chunk == 0 or chunk > window:
        config["prefill_chunk_size"] = min(window, most)


def _whole_chunk(config: Fields) -> None:
    _chunk(config, max(config["context_window_size"], 1))


def _head_dim(config: Fields, most: int = 8192) -> None:
    if config["head_dim"] == 0:
        config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    _chunk(config, most)


def _llama(config: Fields) -> None:
    if config["rope_scaling"] is not None and "rope_type" not in config["rope_scaling"]:
        config["rope_scaling"] = None
    _chunk(config)


def _gemma(config: Fields) -> None:
    older = config.pop("hidden_act", None)
    if config.get("hidden_activation") is None:
        config["hidden_activation"] = older
    _chunk(config)


def _gemma2(config: Fields) -> None:
    _gemma(config)
    config["context_window_size"] = config["sliding_window"]


def _gemma3(config: Fields) -> None:
    text = {"position_embedding_base": 1_000_000, "rope_scaling": 0, **config["text_config"]}
    rest = dict(text.pop("kwargs", {}))
    if "sliding_window" in text:  # it was a field once, and is among the rest since
        rest["sliding_window"] = text.pop("sliding_window")
    if text.get("sliding_window_size") is None:
        text["sliding_window_size"] = rest.get("sliding_window")
    _chunk(text)
    text["context_window_size"] = max(text["sliding_window_size"], 8192)
    config["text_config"] = {**text, "kwargs": rest}
    _from_text(config)


def _from_text(config: Fields) -> None:
    """What is unset is as in the language model inside."""
    for name in ("context_window_size", "prefill_chunk_size", "sliding_window_size"):
        if config[name] <= 0 and name in config["text_config"]:
            config[name] = config["text_config"][name]


def _mistral(config: Fields) -> None:
    """Neither chunk nor window is cut; a sliding window takes the place of an unset one."""
    if config["sliding_window_size"] in {0, None}:
        config["sliding_window_size"] = -1
    sliding = config["sliding_window_size"]
    if config["context_window_size"] == 0:
        if sliding == -1:
            raise StepError("mlc_llm refuses a context window of 0", hint="remove `context_window_size: 0`")
        config["context_window_size"] = -1
    if config["prefill_chunk_size"] == 0:
        sizes = [size for size in (sliding, config["context_window_size"]) if size != -1]
        config["prefill_chunk_size"] = min(*sizes, 8192)


def _phi3(config: Fields) -> None:
    scaling = config["rope_scaling"]
    if scaling is not None:
        longrope = {"type": "longrope", "rope_type": "longrope"}
        sizes = {name: config[name] for name in ("max_position_embeddings", "original_max_position_embeddings")}
        config["rope_scaling"] = {**scaling, **longrope, **sizes} if "type" in scaling else None
    _chunk(config)


_OF_LLAMA: Mapping[str, object] = {
    "tie_word_embeddings": False,
    "rope_scaling": None,
    "pipeline_parallel_stages": 1,
    "disaggregation": False,
}
_OF_PHI3: Mapping[str, object] = {
    "rope_scaling": None,
    "original_max_position_embeddings": 0,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 1.0,
}
_HEAD_DIM: Mapping[str, object] = {"head_dim": 0}

_PLAIN = ConfigClass(_chunk)
_PLAIN_SMALL = ConfigClass(partial(_chunk, most=_SMALL))
_WITH_HEAD_DIM = ConfigClass(_head_dim, _HEAD_DIM)
_BERT = ConfigClass(_whole_chunk, {"type_vocab_size": 2, "pad_token_id": 0, "position_offset": 0})
_LLAMA = ConfigClass(_llama, _OF_LLAMA)
_GEMMA3 = ConfigClass(_gemma3, {"is_text_model": False})
_RWKV = ConfigClass(_nothing, {"max_batch_size": 1})
_DEEPSEEK_V2 = ConfigClass(
    partial(_chunk, most=_SMALL),
    {"weight_block_size": None},
    required=("scoring_func", "topk_method", "n_group", "topk_group"),
)
_QWEN2 = ConfigClass(_head_dim, {**_HEAD_DIM, "max_batch_size": 1, "tie_word_embeddings": False})
_QWEN3 = ConfigClass(partial(_chunk, most=_SMALL), {"dtype": "float32", "weight_block_size": None})

CLASSES: Mapping[str, ConfigClass] = {
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gptj", "gpt_neox", "nemotron", "olmo", "olmo2", "orion", "phi"), _PLAIN),
    **dict.fromkeys(("baichuan", "chatglm", "deepseek", "internlm", "qwen", "stablelm", "starcoder2"), _WITH_HEAD_DIM),
    **dict.fromkeys(("qwen3", "qwen3-embedding", "qwen3_moe"), _QWEN3),
    **dict.fromkeys(("qwen3_5", "qwen3_5_text"), _PLAIN_SMALL),
    **dict.fromkeys(("qwen2", "qwen2_moe"), _QWEN2),
    **dict.fromkeys(("bert", "bert-bge"), _BERT),
    **dict.fromkeys(("llama", "mixtral"), _LLAMA),
    **dict.fromkeys(("rwkv5", "rwkv6"), _RWKV),
    **dict.fromkeys(("gemma3", "gemma3_text"), _GEMMA3),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3"), _DEEPSEEK_V2),
    "cohere": ConfigClass(_nothing),
    "eagle": ConfigClass(_llama, {**_OF_LLAMA, "bias": True}),
    "gemma": ConfigClass(_gemma),
    "gemma2": ConfigClass(_gemma2),
    "internlm2": ConfigClass(partial(_head_dim, most=_SMALL), _HEAD_DIM),
    "llama4": _PLAIN,
    "llava": ConfigClass(_from_text, {"sliding_window_size": -1, "text_architecture": "LlamaForCausalLM"}),
    "medusa": ConfigClass(_nothing),
    "minicpm": ConfigClass(
        _head_dim,
        {**_HEAD_DIM, "tie_word_embeddings": False, "num_experts_per_tok": 0, "num_experts": 0},
        gone=("max_length",),
    ),
    "ministral3": ConfigClass(_mistral, {"modules_to_not_convert": []}),
    "mistral": ConfigClass(_mistral, {"max_batch_size": 1, "context_window_size": 0}),
    "phi-msft": ConfigClass(_whole_chunk),
    "phi3": ConfigClass(_phi3, _OF_PHI3, required=("max_position_embeddings",)),
    "phi3_v": ConfigClass(
        _phi3,
        {"rope_scaling": None, "original_max_position_embeddings": 0, "img_processor": None},
        required=("max_position_embeddings",),
    ),
}
"""Kind of model -> its class."""

ANY_VOCABULARY = frozenset(
    {
        *("cohere", "eagle", "gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neox", "llama"),
        *("llama4", "llava", "mistral", "mixtral", "nemotron", "orion"),
    }
)
"""Kinds whose library takes a vocabulary of any size: a fine-tune that added tokens can use its base's."""
