"""Step `app_config`: the records by which an app finds the models of a product, and the weights they speak of.

For MLC's apps that is `bundle/mlc-app-config.json`, with a directory beside it for each model whose weights are
shipped: what `mlc_llm package` leaves in `dist/bundle`. For WebLLM it is `webllm-model-list.json`. Weights are hard
links, so that native apps and pages share one copy. The engine runs it for each product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.compilers import mlc_metadata
from pipeline.compilers.mlc_memory import memory, own_window
from pipeline.compilers.mlc_names import MlcOptions, check_shared
from pipeline.documents.app_records import LIST, READERS
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.documents.chat_config import read_chat_config
from pipeline.documents.codec import encode
from pipeline.documents.memory import Memory
from pipeline.errors import StepError
from pipeline.files import hash_path, sha256_bytes
from pipeline.kits import webllm
from pipeline.kits.runtime import FOLDER

NATIVE = "bundle/mlc-app-config.json"
WEB = "webllm-model-list.json"

TOKENIZERS = ("tokenizer.json", "tokenizer.model")
"""Those of its files that WebLLM loads."""

RESOLVED = "main"
"""The revision that WebLLM adds to the address of a model that says none (`resolve/main/`): the name of a directory of
ours where addresses are the page's business. Where they are ours (`base_url`), they say which bytes are meant: WebLLM
caches config, tokenizer, shards and modules by their addresses, and never asks again."""

_DIGITS = 16
"""Of a digest in an address."""


@dataclass(frozen=True)
class AppModel:
    """A model that apps find by a record.

    Attributes:
        library_of: subject of the variant whose library it uses, where that is another.
        model_id: the app's name for it.
        bundle_weight: whether its weights are shipped.
        url: where the weights are otherwise; None where they are only here.
        estimated_vram_bytes: as the user says; None: measured.
        model_lib: of a native product: what the runtime finds the library by.
        file: of a web product: the module's name.
        quantization: where the user says so.
        model_type: where the user says so.
        overrides: settings of the model, which it was compiled with.
        low_resource_required: of a web product.
    """

    subject: str
    model_id: str
    bundle_weight: bool
    url: str | None = None
    estimated_vram_bytes: int | None = None
    model_lib: str | None = None
    file: str | None = None
    quantization: str | None = None
    model_type: str | None = None
    library_of: str | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    low_resource_required: bool | None = None


@dataclass(frozen=True)
class Params:
    """What the step is given: the kind of product, where pages get it, and the models with a record."""

    kind: str
    base_url: str | None
    models: tuple[AppModel, ...]


def run(job: Job[Params]) -> Facts:
    """Write the records.

    Returns:
        Facts: `models` (how many), `memory` (subject -> what `documents.memory.Memory` says of it), `bundled` (subjects
        whose weights are shipped).

    Raises:
        StepError: nobody says how much memory a model takes, its config cannot be read, or it is no model for the
            library that it is to use.
    """
    web, reader = job.params.kind == "web", READERS[job.params.kind]
    records, needs = [], {}
    for model in job.params.models:
        subject = model.subject
        if model.library_of is not None:  # it must be one that the same library would be compiled from
            settings = MlcOptions(model.quantization, model.model_type, overrides=model.overrides)
            check_shared({one: _chat(job, one) for one in (model.library_of, subject)}, settings)
        needs[subject] = _measured(job, model)
        total = _total(model, needs[subject])
        record = _web(job, model, total) if web else _native(job, model, total)
        if faults := list(reader.faults(record)):
            raise StepError(
                f"the record of {subject} is none for {reader.name}: it {'; it '.join(faults)}",
                hint="correct what targets.yaml and mlc-chat-config.json say of the model",
            )
        records.append(record)
    # As `mlc_llm package` writes it: two spaces, a line feed at the end.
    job.write(WEB if web else NATIVE, json.dumps({LIST: records}, indent=2, ensure_ascii=False) + "\n")
    bundled = [model.subject for model in job.params.models if model.bundle_weight]
    return {"models": len(records), "memory": encode(needs), "bundled": bundled}


def _measured(job: Job[Params], model: AppModel) -> Memory | None:
    """Bytes that a model takes, by kind; None where its library says nothing of it."""
    subject = model.subject
    objects = (path.read_bytes() for _, path in job.files(roles.objects(subject)))
    metadata = mlc_metadata.read(objects)
    if metadata is None:
        return None
    chat = _chat(job, subject)
    if model.estimated_vram_bytes is None:
        _check_window(metadata, chat, subject)
    return memory(metadata, chat)


def _check_window(metadata: Mapping[str, object], chat: Mapping[str, object], subject: str) -> None:
    """Nobody means a window beyond the model's own: its key-value cache would be most of what the record asks for."""
    window, own = metadata.get("context_window_size"), own_window(chat)
    if isinstance(window, int) and own is not None and window > own:
        raise StepError(
            f"{subject} is compiled for a context window of {window} tokens, and the model's own is {own}",
            hint="lower `overrides: {context_window_size: …}`; or, if the model can do it, say what it takes on the "
            "GPU then: `estimated_vram_bytes`",
        )


def _total(model: AppModel, need: Memory | None) -> int:
    if model.estimated_vram_bytes is not None:
        return model.estimated_vram_bytes
    if need is None:
        raise StepError(
            f"the library of {model.subject} does not say how much memory it takes",
            hint="give the variant `estimated_vram_bytes`, which apps want to know",
        )
    return need.total


def _native(job: Job[Params], model: AppModel, total: int) -> dict[str, object]:
    if model.bundle_weight:
        _ship(job, model.subject, job.out / "bundle" / model.model_id)
    # MLC's Android app ends at a record without a URL, also where somebody puts the weights on the phone; of weights
    # that are nowhere else, `mlc_llm package` writes their path there.
    if model.bundle_weight and job.params.kind != "android":
        place: dict[str, str | None] = {"model_path": model.model_id}
    else:
        place = {"model_url": model.url or (model.model_id if model.bundle_weight else None)}
    return {"model_id": model.model_id, "model_lib": model.model_lib, **place, "estimated_vram_bytes": total}


def _web(job: Job[Params], model: AppModel, total: int) -> dict[str, object]:
    base, module = job.params.base_url or "", job.inputs[roles.module(model.subject)] / str(model.file)
    revision = _digest(job, model.subject) if base and model.bundle_weight else RESOLVED
    place = f"models/{model.model_id}/resolve/{revision}/"
    if model.bundle_weight:
        _ship(job, model.subject, job.out / place)
    chat, config = _chat(job, model.subject), job.inputs[roles.of(roles.CONFIG, model.subject)]
    listed = chat.get("tokenizer_files")
    if isinstance(listed, list) and not set(TOKENIZERS) & {str(name) for name in listed}:
        raise StepError(
            f"WebLLM cannot load {model.subject}: the tokenizer_files of its {CHAT_CONFIG} list none of "
            f"{', '.join(TOKENIZERS)}",
            hint="give the weights a tokenizer.json, and list it there",
        )
    names = [name for name in TOKENIZERS if isinstance(listed, list) and name in listed and (config / name).is_file()]
    said = model.quantization or chat.get("quantization")
    record = webllm.record(
        model=f"{base}{place}" if model.bundle_weight else str(model.url),
        model_id=model.model_id,
        model_lib=f"{base}{FOLDER}/{model.file}" + (f"?sha256={hash_path(module)[:_DIGITS]}" if base else ""),
        quantization=None if said is None else str(said),
        overrides=webllm.with_one_window(model.overrides, chat),
        vram_bytes=total,
        low_resource=model.low_resource_required,
        integrity=webllm.integrity(
            config / CHAT_CONFIG,
            module,
            {name: config / name for name in names},
        ),
    )
    kind = webllm.model_type(chat)
    return {**record, "model_type": kind} if kind else record


def _ship(job: Job[Params], subject: str, folder: Path) -> None:
    role = roles.bundle(subject)
    for name, path in job.files(role):
        job.adopt((folder / name).relative_to(job.out).as_posix(), path, job.digest_of(role, name))


def _digest(job: Job[Params], subject: str) -> str:
    """What tells the files that are shipped with a model from all others."""
    role = roles.bundle(subject)
    rows = sorted([name, job.digest_of(role, name).sha256] for name, _ in job.files(role))
    return sha256_bytes(json.dumps(rows).encode())[:_DIGITS]


def _chat(job: Job[Params], subject: str) -> Mapping[str, object]:
    return read_chat_config(job.inputs[roles.of(roles.CONFIG, subject)], subject)
