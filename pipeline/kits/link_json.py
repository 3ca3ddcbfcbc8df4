"""`link.json`: everything a kit's other files say, for programs.

`linkkit` writes it. A superset of the `system_lib_metadata.json` that projects around TVM and Rust pass about by hand:
`archive`, `prefix_base`, `prefixes` and `target` mean the same here. Must not know templates.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from pipeline.action import Json

from . import link_flags
from .kit import Kit, KitModel, Part
from .runtime import Module, RuntimeLibrary

SCHEMA = 1

_OF_BACKEND = ("name", "triple", "arch", "platform", "deployment_target", "device", "kernels")
"""`kernels` is there for Metal alone: `source` or `metallib`."""


def link_document(kit: Kit) -> dict[str, Json]:
    """The content of `link.json`. Paths are relative to the kit; symbols are spelt as in C.

    `target` is the kind of device, and null when the parts differ in it. A part has `functions` of its own for a model
    only where they differ from those under `models`.
    """
    models = kit.models
    devices = {backend["device"]["kind"] for backend in kit.backends}
    return {
        "schema": SCHEMA,
        "product": kit.product,
        "kind": kit.kind,
        "archive": kit.archive,
        "prefix_base": os.path.commonprefix([model.prefix for model in models]),  # noqa: RUF071 - no paths
        "prefixes": {model.subject: model.prefix for model in models},
        "target": devices.pop() if len(devices) == 1 else None,
        "models": {model.subject: _model(model) for model in models},
        "system_libraries": list(kit.system_libraries),
        "frameworks": list(kit.frameworks),
        "parts": [_part(kit, part) for part in kit.parts],
        "modules": [_module(module) for module in kit.modules],
    }


def _model(model: KitModel) -> Json:
    return {
        "model": model.document["model"],
        "variant": model.document["variant"],
        "options": model.document["options"],
        "prefix": model.prefix,
        "library_bin": model.document["library_bin"],
        "keep_symbols": list(model.kept),
        "abi": {"generation": model.document["generation"], "registration": model.document["registration"]},
        "functions": list(model.functions),
    }


def _part(kit: Kit, part: Part) -> Json:
    usual: Mapping[str, KitModel] = {model.subject: model for model in kit.models}
    return {
        "name": part.name,
        "archive": part.path,
        "size": len(part.data),
        "sha256": hashlib.sha256(part.data).hexdigest(),
        "format": part.format,
        "platform": part.platform,
        "architectures": list(part.architectures),
        "backends": [{key: backend[key] for key in _OF_BACKEND if key in backend} for backend in part.backends],
        "models": [model.subject for model in part.models],
        "functions": {m.subject: list(m.functions) for m in part.models if m.functions != usual[m.subject].functions},
        "system_libraries": list(part.system_libraries),
        "frameworks": list(part.frameworks),
        "linker_words": [
            *link_flags.force_load(part.path, part.format),
            *part.keep,
            *_exports(kit, part),
            *part.page_size,
        ],
        "runtime": [_library(library, part) for library in part.runtime],
    }


def _library(library: RuntimeLibrary, part: Part) -> Json:
    """A library of the runtime; its words are for the linker, as those of the models."""
    words = link_flags.force_load(library.path, part.format) if library.whole else (library.path,)
    return {
        "name": library.name,
        "archive": library.path,
        "size": len(library.data),
        "sha256": hashlib.sha256(library.data).hexdigest(),
        "linker_words": list(words),
    }


def _module(module: Module) -> Json:
    return {
        "model": module.subject,
        "backend": module.backend,
        "file": module.path,
        "size": module.size,
        "sha256": module.sha256,
    }


def _exports(kit: Kit, part: Part) -> list[str]:
    if kit.kind == "xcframework":
        return ["-exported_symbols_list", f"{kit.product}.exported_symbols.txt", "-export_dynamic"]
    if part.format == "elf":
        return [f"--version-script={kit.product}.map"]
    return []
