"""What mlc_llm's configuration classes make of a `mlc-chat-config.json`, kind of model by kind of model.

The name of a library is over every field of such a class (`mlc_names`), and classes change their own fields: some cut
the prefill chunk to the window, Gemma 2 puts its sliding window in the place of any other. `effective` does what
`from_dict(…).asdict()` of mlc_llm at 79d603f0 does, without it. A kind of model that is not listed here has no name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

from pipeline.errors import StepError
from pipeline.nearest import did_you_mean

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
        settle: what its `__post_init__` does to the fields of a converted model, in turn: functions that take fields by
            name, and return those that change.
        later: fields that it got after the first checkpoints had been converted, with their defaults: an older file
            lacks them, and they are part of the name all the same.
        required: such fields without a default, besides those that `settle` asks for: mlc_llm refuses a file that lacks
            them.
        gone: fields that it has no more.
    """

    settle: tuple[Callable[..., Fields], ...]
    later: Mapping[str, object] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def effective(model_type: str, model_config: Mapping[str, object], changes: Mapping[str, object]) -> Fields:
    """Every field of the class, as mlc_llm has it when it compiles.

    `model_config` is that part of `mlc-chat-config.json`. `changes` are laid over it: the file's top level, then
    overrides. What is no field is dropped.

    Raises:
        StepError: it is no kind of model that is known here, or one that mlc_llm would refuse.
    """
    known = CLASSES.get(model_type)
    if known is None:
        what = f"how mlc_llm names libraries of kind {model_type!r} is not known here"
        meant = did_you_mean(model_type, CLASSES)
        raise StepError(what, hint=f"{meant} Else {_NAME_IT}" if meant else _NAME_IT)
    fields = {**known.later, **model_config}
    missing = [name for name in (*known.required, *_asked(known)) if name not in fields]
    if missing:
        what = f"mlc_llm asks for {', '.join(missing)} in the `model_config` of a {model_type}, and it is not there"
        raise StepError(what, hint=_SAY_IT)
    config = {name: changes.get(name, value) for name, value in fields.items()}
    for settle in known.settle:
        config |= settle(**config)
    return {name: value for name, value in config.items() if name not in {"kwargs", *known.gone}}


def _asked(known: ConfigClass) -> Iterator[str]:
    """The fields that the functions of a class cannot do without."""
    for settle in known.settle:
        for name, one in signature(settle).parameters.items():
            if one.kind is one.KEYWORD_ONLY and one.default is one.empty:
                yield name


def _chunk(
    *,
    context_window_size: int,
    prefill_chunk_size: int,
    max_position_embeddings: int | None = None,
    n_positions: int | None = None,
    most: int | None = 8192,
    **_: object,
) -> Fields:
    """The prefill chunk, cut where it would exceed the context window, to that or at most so many tokens."""
    window = context_window_size
    if window == 0:
        window = max_position_embeddings or n_positions or 0
        if not window:
            raise StepError("mlc_llm refuses a context window of 0", hint="remove `context_window_size: 0`")
    is_cut = prefill_chunk_size == 0 or prefill_chunk_size > window
    chunk = min(window, window if most is None else most) if is_cut else prefill_chunk_size
    return {"context_window_size": window, "prefill_chunk_size": chunk}


def _head_dim(*, head_dim: int, hidden_size: int, num_attention_heads: int, **_: object) -> Fields:
    return {"head_dim": head_dim or hidden_size // num_attention_heads}


def _llama(*, rope_scaling: Fields | None, **_: object) -> Fields:
    return {"rope_scaling": rope_scaling if rope_scaling and "rope_type" in rope_scaling else None}


def _gemma(*, hidden_activation: str | None = None, hidden_act: str | None = None, **_: object) -> Fields:
    return {"hidden_activation": hidden_act if hidden_activation is None else hidden_activation}


def _gemma2(*, sliding_window: int, **_: object) -> Fields:
    return {"context_window_size": sliding_window}


def _gemma3(*, text_config: Fields, **_: object) -> Fields:
    return {"text_config": _gemma3_text(**{"position_embedding_base": 1_000_000, "rope_scaling": 0, **text_config})}


def _gemma3_text(*, kwargs: Fields | None = None, sliding_window_size: int | None = None, **text: Any) -> Fields:
    chunk = _chunk(**text)
    moved = {"sliding_window": text.pop("sliding_window")} if "sliding_window" in text else {}
    rest = {**(kwargs or {}), **moved}  # it was a field once, and is among the rest since
    size: int = rest["sliding_window"] if sliding_window_size is None else sliding_window_size
    own = {"sliding_window_size": size, "context_window_size": max(size, 8192), "kwargs": rest}
    return {**text, **chunk, **own}


def _from_text(
    *, text_config: Fields, context_window_size: int, prefill_chunk_size: int, sliding_window_size: int, **_: object
) -> Fields:
    """What is unset is as in the language model inside."""
    own = {
        "context_window_size": context_window_size,
        "prefill_chunk_size": prefill_chunk_size,
        "sliding_window_size": sliding_window_size,
    }
    return {name: text_config.get(name, size) if size <= 0 else size for name, size in own.items()}


def _mistral(
    *, context_window_size: int, prefill_chunk_size: int, sliding_window_size: int | None, **_: object
) -> Fields:
    """Neither chunk nor window is cut; a sliding window takes the place of an unset one."""
    sliding, context = sliding_window_size or -1, context_window_size or -1
    if context_window_size == 0 and sliding == -1:
        raise StepError("mlc_llm refuses a context window of 0", hint="remove `context_window_size: 0`")
    sizes = [size for size in (sliding, context) if size != -1]
    return {
        "sliding_window_size": sliding,
        "context_window_size": context,
        "prefill_chunk_size": prefill_chunk_size or min(*sizes, 8192),
    }


def _phi3(
    *,
    rope_scaling: Fields | None,
    max_position_embeddings: int,
    original_max_position_embeddings: int,
    **_: object,
) -> Fields:
    if rope_scaling is None or "type" not in rope_scaling:
        return {"rope_scaling": None}
    longrope = {"type": "longrope", "rope_type": "longrope"}
    sizes = {
        "max_position_embeddings": max_position_embeddings,
        "original_max_position_embeddings": original_max_position_embeddings,
    }
    return {"rope_scaling": {**rope_scaling, **longrope, **sizes}}


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

_small_chunk = partial(_chunk, most=_SMALL)
_whole_chunk = partial(_chunk, most=None)

_PLAIN = ConfigClass((_chunk,))
_PLAIN_SMALL = ConfigClass((_small_chunk,))
_WITH_HEAD_DIM = ConfigClass((_head_dim, _chunk), _HEAD_DIM)
_BERT = ConfigClass((_whole_chunk,), {"type_vocab_size": 2, "pad_token_id": 0, "position_offset": 0})
_LLAMA = ConfigClass((_llama, _chunk), _OF_LLAMA)
_GEMMA3 = ConfigClass((_gemma3, _from_text), {"is_text_model": False})
_RWKV = ConfigClass((), {"max_batch_size": 1})
_DEEPSEEK_V2 = ConfigClass(
    (_small_chunk,),
    {"weight_block_size": None},
    required=("scoring_func", "topk_method", "n_group", "topk_group"),
)
_QWEN2 = ConfigClass((_head_dim, _chunk), {**_HEAD_DIM, "max_batch_size": 1, "tie_word_embeddings": False})
_QWEN3 = ConfigClass((_small_chunk,), {"dtype": "float32", "weight_block_size": None})

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
    "cohere": ConfigClass(()),
    "eagle": ConfigClass((_llama, _chunk), {**_OF_LLAMA, "bias": True}),
    "gemma": ConfigClass((_gemma, _chunk), gone=("hidden_act",)),
    "gemma2": ConfigClass((_gemma, _chunk, _gemma2), gone=("hidden_act",)),
    "internlm2": ConfigClass((_head_dim, _small_chunk), _HEAD_DIM),
    "llama4": _PLAIN,
    "llava": ConfigClass((_from_text,), {"sliding_window_size": -1, "text_architecture": "LlamaForCausalLM"}),
    "medusa": ConfigClass(()),
    "minicpm": ConfigClass(
        (_head_dim, _chunk),
        {**_HEAD_DIM, "tie_word_embeddings": False, "num_experts_per_tok": 0, "num_experts": 0},
        gone=("max_length",),
    ),
    "ministral3": ConfigClass((_mistral,), {"modules_to_not_convert": []}),
    "mistral": ConfigClass((_mistral,), {"max_batch_size": 1, "context_window_size": 0}),
    "phi-msft": ConfigClass((_whole_chunk,)),
    "phi3": ConfigClass((_phi3, _chunk), _OF_PHI3),
    "phi3_v": ConfigClass(
        (_phi3, _chunk), {"rope_scaling": None, "original_max_position_embeddings": 0, "img_processor": None}
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
