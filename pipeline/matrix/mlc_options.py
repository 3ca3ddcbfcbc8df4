"""What a variant of an `mlc` model may say: unlike a recipe's options these are known, so a slip is an error.

`models` validates a variant's options with `Options` and parts them: some steer the compiler, some are only for the
app that gets the model.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from .cells import ForApps
from .fields import FileName, FolderUrl, Strict, wrong

_SHORTEST_MODEL_LIB = 7
"""With the underscore that becomes the end of it, a prefix has the 8 bytes that TVM needs."""


_LONGEST_MODEL_ID = 100
"""Bytes; no name of a file has more than 255, and the library's has more than the model's."""


_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([^/]+/[^/]+)/(?:tree|blob|raw)/.*")
"""A page of a repository of the hub, as browsers show it."""


def _check_model_id(name: str) -> str:
    if set(name) & set("/\\:#?%") or name.startswith(".") or not name.isprintable():
        hint = "it is part of paths and addresses: leave out `/`, `\\`, `:`, `#`, `?`, `%` and a leading dot"
        raise wrong(f"`{name}` is no model_id", hint)
    if len(name.encode()) > _LONGEST_MODEL_ID:
        raise wrong(
            f"a model_id of {len(name.encode())} bytes is too long",
            f"it is a folder's name, too: use up to {_LONGEST_MODEL_ID} bytes",
        )
    return name


_Size = Annotated[int, Field(strict=True, ge=-1, lt=1 << 31)]
"""Tokens; -1 stands for none. mlc_llm's runtime counts them in 32 bits."""
_Count = Annotated[int, Field(strict=True, gt=0, lt=1 << 31)]


class GenConfig(Strict):
    """Options of `mlc_llm gen_config`, which become defaults of the converted model."""

    context_window_size: _Size | None = None
    sliding_window_size: _Size | None = None
    prefill_chunk_size: _Size | None = None
    attention_sink_size: _Size | None = None
    tensor_parallel_shards: _Count | None = None
    pipeline_parallel_stages: _Count | None = None
    disaggregation: Annotated[bool, Field(strict=True)] | None = None
    max_batch_size: _Count | None = None


class Overrides(GenConfig):
    """Options of `mlc_llm compile --overrides`: changes to what mlc-chat-config.json says."""


def _check_model_lib(name: str) -> str:
    plain = name.replace("-", "_")
    if not plain.isidentifier() or not plain.isascii() or len(plain) < _SHORTEST_MODEL_LIB:
        raise wrong(
            f"`{name}` is no model_lib",
            f"use {_SHORTEST_MODEL_LIB} or more letters, digits, `_` and `-`, not starting with a digit",
        )
    return name


def _check_model_url(url: str) -> str:
    """An address behind which apps find files; they put `resolve/main/` behind one of the hub themselves."""
    if page := _PAGE.fullmatch(url):
        raise wrong(f"`{url}` is a page of the hub, and no directory", f"write https://huggingface.co/{page[1]}")
    if url.endswith(".json"):
        raise wrong(f"`{url}` is the address of a file", f"write that of its directory: {url.rpartition('/')[0]}")
    return url


class App(Strict):
    """What only an app's configuration needs: it cannot change what is compiled."""

    model_id: Annotated[FileName, AfterValidator(_check_model_id)] | None = Field(
        default=None,
        description="Name of the model in mlc-app-config.json and WebLLM's model_list; where left out, that of its "
        "repository.",
    )
    model_url: Annotated[FolderUrl, AfterValidator(_check_model_url)] | None = Field(
        default=None,
        description="Where apps download the weights in MLC's form from, where that is not the hub: a directory on a "
        "server of yours. WebLLM puts `resolve/main/` behind an address that has no `/resolve/…/` in it.",
    )
    estimated_vram_bytes: Annotated[int, Field(gt=0, lt=1 << 63, strict=True)] | None = Field(
        default=None, description="What the model takes on the GPU; where left out, what its library and config say."
    )
    bundle_weight: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="Whether an app ships the weights; where left out, those that it could not download."
    )
    low_resource_required: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="For WebLLM: whether limited devices can run it; where left out, its size decides."
    )


class Options(App):
    """All that a variant of an `mlc` model can say."""

    quantization: FileName | None = Field(default=None, description="A quantization of mlc_llm, like q4f16_1.")
    conv_template: FileName | None = Field(
        default=None,
        description="A conversation template of mlc_llm. It says that the weights are a raw checkpoint, which "
        "gen_config and convert_weight turn into MLC's form first; `quantization` must be given with it.",
    )
    gen_config: GenConfig | None = Field(default=None, description="Further options of gen_config.")
    source_format: FileName | None = Field(default=None, description="`--source-format` of convert_weight.")
    model_type: FileName | None = Field(default=None, description="`--model-type`, where the config does not say it.")
    opt: FileName | None = Field(default=None, description="`--opt`: O0 to O3, or flags. O2 where left out.")
    enable_subgroups: bool | None = Field(default=None, description="`--enable-subgroups`, for WebGPU.")
    model_lib: Annotated[FileName, AfterValidator(_check_model_lib)] | None = Field(
        default=None, description="The name by which apps find the library; where left out, the one mlc_llm would give."
    )
    overrides: Overrides | None = Field(default=None, description="`--overrides`.")

    @model_validator(mode="after")
    def _whole(self) -> Options:
        if self.conv_template is not None and self.quantization is None:
            raise wrong(
                "a raw checkpoint needs a quantization to be converted to", "add `quantization:`, for example q4f16_1"
            )
        if self.conv_template is None and (self.gen_config is not None or self.source_format is not None):
            raise wrong("gen_config and source_format are for raw checkpoints", "add `conv_template:`, or remove them")
        return self


APP = tuple(App.model_fields)


def for_apps(said: App) -> ForApps:
    """What only apps need."""
    return ForApps(**{key: getattr(said, key) for key in APP})
