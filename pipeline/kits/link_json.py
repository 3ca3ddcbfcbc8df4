"""Fills in `link.json` (see `documents.link_json`) from a kit, for `linkkit`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pipeline.documents.archive import ArchivedModel
from pipeline.documents.link_json import (
    SCHEMA,
    Abi,
    LinkedArchive,
    LinkedBackend,
    LinkedLibrary,
    LinkedModel,
    LinkJson,
)
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend

from . import link_flags
from .kit import Kit, KitArchive
from .runtime import RuntimeLibrary

METADATA = "system_lib_metadata.json"


def link_json(kit: Kit) -> LinkJson:
    """The document of a kit. An archive has `functions` of a model only where they differ from the usual ones."""
    models = kit.models
    return LinkJson(
        schema=SCHEMA,
        product=kit.product,
        kind=kit.kind,
        archive=kit.archive,
        prefix_base=_prefix_base(kit),
        prefixes={model.subject: model.prefix for model in models},
        target=_device(kit),
        models={model.subject: _model(model) for model in models},
        system_libraries=kit.system_libraries,
        frameworks=kit.frameworks,
        archives=tuple(_archive(kit, archive) for archive in kit.archives),
        modules=kit.modules,
    )


def system_lib_metadata(kit: Kit) -> dict[str, object]:
    """The document that projects around TVM and Rust hand from their build to their program.

    A part is called like its model, or like the variant where a model has several. Options that all models share are
    in it as they are (`checkpoint`, `batch_size` and what else the program wants to know).
    """
    models = kit.models
    names = [model.model for model in models]
    options = [model.options for model in models]
    shared = {
        name: value
        for name, value in (options[0] if options else {}).items()
        if all(name in one and one[name] == value for one in options)
    }
    return {
        "archive": kit.archive,
        "prefix_base": _prefix_base(kit),
        "prefixes": {
            name if names.count(name) == 1 else model.subject: model.prefix
            for name, model in zip(names, models, strict=True)
        },
        **shared,
        "target": _device(kit),
        "output_ext": "so",
    }


def _prefix_base(kit: Kit) -> str:
    """What all prefixes begin with, up to a `_`."""
    common = os.path.commonprefix([model.prefix for model in kit.models])  # noqa: RUF071 - no paths
    return common[: common.rfind("_") + 1]


def _device(kit: Kit) -> str | None:
    devices = {backend.device_kind for backend in kit.backends}
    return devices.pop() if len(devices) == 1 else None


def _model(model: ArchivedModel) -> LinkedModel:
    return LinkedModel(
        model=model.model,
        variant=model.variant,
        options=model.options,
        prefix=model.prefix,
        library_bin=model.library_bin,
        keep_symbols=model.required_symbols,
        abi=Abi(model.generation, model.registration, model.tvm, model.tvm_ffi),
        functions=model.functions,
    )


def _archive(kit: Kit, archive: KitArchive) -> LinkedArchive:
    usual: Mapping[str, ArchivedModel] = {model.subject: model for model in kit.models}
    return LinkedArchive(
        name=archive.name,
        archive=archive.path,
        size=len(archive.data),
        sha256=archive.sha256,
        format=archive.format,
        platform=archive.platform,
        architectures=archive.architectures,
        backends=tuple(_backend(backend) for backend in archive.backends),
        models=tuple(model.subject for model in archive.models),
        functions={m.subject: m.functions for m in archive.models if m.functions != usual[m.subject].functions},
        system_libraries=archive.system_libraries,
        frameworks=archive.frameworks,
        linker_flags=(
            *link_flags.force_load(archive.path, archive.format),
            *archive.keep,
            *_exports(kit, archive),
            *archive.page_size,
        ),
        runtime=tuple(_library(library, archive) for library in archive.runtime),
    )


def _backend(one: Backend) -> LinkedBackend:
    return LinkedBackend(one.name, one.triple, one.arch, one.platform, one.deployment_target, one.device, one.kernels)


def _library(library: RuntimeLibrary, archive: KitArchive) -> LinkedLibrary:
    flags: tuple[str, ...] = (library.path,)
    if library.whole:
        flags = link_flags.force_load(library.path, archive.format)
    elif library.shared:
        flags = link_flags.shared(library.path, archive.format)
    sha256 = sha256_bytes(library.data)
    return LinkedLibrary(library.name, library.path, len(library.data), sha256, flags, library.shared)


def _exports(kit: Kit, archive: KitArchive) -> tuple[str, ...]:
    if kit.kind == "xcframework":
        return ("-exported_symbols_list", f"{kit.product}.exported_symbols.txt", "-export_dynamic")
    return (f"--version-script={kit.product}.map",) if archive.format == "elf" else ()
