"""What WebLLM calls a model's library, and what it wants to know of a model: one record of its `model_list`.

`plan.apps` asks for the name of the file before anything is compiled, the step `app_config` for the record. The form of
a record is WebLLM's `ModelRecord`, the names are those of its published libraries.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from pipeline.documents.app_records import WINDOW
from pipeline.files import hash_path

MIB = 1 << 20

SHADER_F16 = "shader-f16"
"""The feature of WebGPU that kernels in 16-bit floats need; not every device has it."""

LOW_RESOURCE_MIB = 3500
"""Up to this much memory a model counts as one for limited devices, where targets.yaml does not say. WebLLM's own list
has no rule; this bound agrees with four of five of its records."""

_SIZES = (("context_window_size", "-ctx"), ("sliding_window_size", "-sw"))
_KIB = 1024

_EMBEDS = frozenset({"bert", "bert-bge", "qwen3-embedding"})
_SEES = frozenset({"llava", "phi3_v"})
"""Kinds of model of mlc_llm's by what they are for; a config from before 2025 says it in no other way."""


def library_file(model_id: str, quantization: str | None, overrides: Mapping[str, object]) -> str:
    """The name of a model's library: `Qwen3-0.6B-q4f16_1-ctx4k_cs2k-webgpu.wasm`.

    It has the id as in the record, but for an `-MLC` at its end, and the quantization where the id does not end in it.
    It says what was overridden when it was compiled, and nothing else: a window (`-ctx4k`, or `-sw4k` for a sliding
    one), the prefill chunk (`_cs2k`), the batch (`_batch32`).
    """
    name = model_id.removesuffix("-MLC")
    if quantization and not name.endswith(quantization):
        name = f"{name}-{quantization}"
    for key, word in _SIZES:
        size = overrides.get(key)
        if isinstance(size, int) and size > 0:
            name += f"{word}{_short(size)}"
            break
    if isinstance(chunk := overrides.get("prefill_chunk_size"), int) and chunk > 0:
        name += f"_cs{_short(chunk)}"
    if isinstance(batch := overrides.get("max_batch_size"), int):
        name += f"_batch{batch}"
    return f"{name}-webgpu.wasm"


def record(
    *,
    model: str,
    model_id: str,
    model_lib: str,
    quantization: str | None,
    overrides: Mapping[str, object],
    vram_bytes: int | None,
    low_resource: bool | None,
    integrity: Mapping[str, object],
) -> dict[str, object]:
    """One entry of `model_list`.

    WebLLM takes `model`, the URL of the directory with parameters, tokenizer and config, as it is only where it has
    `/resolve/<something>/` in it; it puts `resolve/main/` behind any other. The quantization decides whether the GPU
    must support 16-bit floats. Of what the library was compiled with WebLLM is told the window alone: it takes the size
    of its key-value cache from there, and all else from the library. `low_resource`: it is for limited devices; None
    lets its size decide.
    """
    fits = None if vram_bytes is None else vram_bytes <= LOW_RESOURCE_MIB * MIB
    said = {
        "model": model,
        "model_id": model_id,
        "model_lib": model_lib,
        "overrides": {key: overrides[key] for key in WINDOW if key in overrides} or None,
        "vram_required_MB": None if vram_bytes is None else round(vram_bytes / MIB, 2),
        "low_resource_required": fits if low_resource is None else low_resource,
        "required_features": [SHADER_F16] if needs_f16(quantization) else None,
        "integrity": dict(integrity) or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def with_one_window(overrides: Mapping[str, object], chat: Mapping[str, object]) -> Mapping[str, object]:
    """Overrides by which a model has a context window or a sliding one: WebLLM refuses one that has both.

    They are laid over `mlc-chat-config.json`.
    """
    sizes = {key: overrides.get(key, chat.get(key)) for key, _ in _SIZES}
    if any(size in {None, -1} for size in sizes.values()):
        return overrides
    context, sliding = sizes
    return {**overrides, context if context not in overrides and sliding in overrides else sliding: -1}


def model_type(chat: Mapping[str, object]) -> int:
    """WebLLM's `ModelType`: 0 answers (and need not be said), 1 embeds, 2 sees; it refuses calls of another type."""
    kind, config = chat.get("model_type"), chat.get("model_config")
    if chat.get("model_task") == "embedding" or kind in _EMBEDS:
        return 1
    return 2 if kind in _SEES or (isinstance(config, dict) and "vision_config" in config) else 0


def needs_f16(quantization: str | None) -> bool:
    """Whether a quantization of mlc_llm computes in 16-bit floats: `q4f16_1` does, `q4f32_1` does not."""
    return quantization is not None and "f16" in quantization.replace("bf16", "")


def integrity(config: Path | None, model_lib: Path | None, tokenizer: Mapping[str, Path]) -> dict[str, object]:
    """Digests by which WebLLM refuses a config, library or file of the tokenizer that is not the one that was built."""
    found = {
        "config": sri(config) if config is not None else None,
        "model_lib": sri(model_lib) if model_lib is not None else None,
        "tokenizer": {name: sri(path) for name, path in sorted(tokenizer.items())},
    }
    return {name: value for name, value in found.items() if value}


def sri(path: Path) -> str:
    """The digest of a file as browsers write it (Subresource Integrity): `sha256-` and base64."""
    return "sha256-" + base64.b64encode(bytes.fromhex(hash_path(path))).decode()


def _short(size: int) -> str:
    return f"{size // _KIB}k" if size % _KIB == 0 else str(size)
