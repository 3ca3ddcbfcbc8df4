"""The section `runtime` of targets.yaml: where each backend gets its runtime; `expand` calls `resolve` and `twins`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.platforms import architecture

from . import schema
from .cells import Backend, Cell, Product, Runtime, Twins
from .diagnostics import Diagnostics, suggest
from .paths import checkout, must_exist, normal
from .presets import MachinePreset, presets

VARIABLES = ("MLC_LLM_SOURCE_DIR", "TVM_SOURCE_DIR")
"""Variables by which users of mlc_llm and TVM say where their checkouts are."""

_HERE = ("runtime",)
_INSIDE_MLC = "3rdparty/tvm"

_PACKAGED = {("linux", "llvm"), ("macos", "llvm"), ("macos", "metal")}
"""Platform and kind of device for which TVM's package has a shared runtime that is complete."""


def resolve(
    targets: schema.Targets, cells: Sequence[Cell], products: Sequence[Product], root: Path, problems: Diagnostics
) -> Runtime:
    """Return the runtime, after reporting what is wrong with it; `cells` is everything that is compiled."""
    spec = targets.runtime
    if spec is None:
        return Runtime()
    used = {cell.backend.name: cell.backend for cell in cells}
    for i, name in enumerate(spec.backends or ()):
        if name not in used:
            hint = suggest(name, used, "backends")
            problems.add((*_HERE, "backends", i), f"no cell is compiled for backend `{name}`", hint)
    _check_prebuilt(targets, spec, used, root, problems)
    wanted = spec.backends or (*_of_products(spec, products, used), *spec.prebuilt)
    backends = tuple(name for name in dict.fromkeys(wanted) if name in used)
    source = checkout((*_HERE, "source"), spec.source, VARIABLES, problems)
    if source is not None:
        must_exist((*_HERE, "source"), source, root, problems, folder=True)
    runtime = Runtime(
        source=source,
        libraries=spec.libraries,
        options=spec.options,
        prebuilt={
            name: tuple((normal(archive.path), archive.sha256) for archive in archives)
            for name, archives in spec.prebuilt.items()
        },
        backends=backends,
        where=problems.document.at(_HERE, key=True),
        wheel=spec.wheel,
    )
    _check_complete(runtime, spec, products, used, problems)
    return runtime


def _of_products(spec: schema.Runtime, products: Sequence[Product], used: Mapping[str, Backend]) -> Iterator[str]:
    """The backends that get a runtime where none is named: of a package, those of products that it has all of."""
    for product in products:
        known = [used[name] for name in product.backends if name in used]
        if product.kind == "layout":  # all that it links with a runtime are modules for pages
            yield from (one.name for one in known if one.format == "wasm")
        elif not spec.wheel or all(
            one.name in spec.prebuilt or (_is_packaged(one) and product.kind in {"native", "web"}) for one in known
        ):
            yield from product.backends


def _is_packaged(backend: Backend) -> bool:
    """Whether TVM's package has a runtime for a backend."""
    return backend.format == "wasm" or (
        (backend.platform, backend.device_kind) in _PACKAGED and architecture(backend.arch) in {"arm64", "x86_64"}
    )


def _check_complete(
    runtime: Runtime,
    spec: schema.Runtime,
    products: Sequence[Product],
    used: Mapping[str, Backend],
    problems: Diagnostics,
) -> None:
    """Every backend has its runtime from somewhere, and every product one for all of its backends or for none."""
    backends = [used[name] for name in runtime.backends if name not in runtime.prebuilt]
    nowhere = [] if spec.source is not None else [one.name for one in backends]
    if spec.wheel:
        nowhere = [one.name for one in backends if not _is_packaged(one)]
    if nowhere:
        what = f"nothing says where the runtime of {', '.join(nowhere)} comes from"
        problems.add(_HERE, what, "add `source:`, or archives in `prebuilt:`; `backends:` leaves some out", key=True)
    for product in products:
        if product.kind == "layout":
            continue
        known = [used[name] for name in product.backends if name in used]
        lacking = [one.name for one in known if not runtime.is_in(product, one)]
        if lacking and len(lacking) < len(known):
            what = f"product {product.name} has a runtime for some of its backends and none for {', '.join(lacking)}"
            problems.add((*_HERE, "backends"), what, "name all of a product's backends, or none")


def _check_prebuilt(
    targets: schema.Targets, spec: schema.Runtime, used: Mapping[str, Backend], root: Path, problems: Diagnostics
) -> None:
    for name, archives in spec.prebuilt.items():
        here = (*_HERE, "prebuilt", name)
        if name not in targets.backends:
            problems.add(here, f"unknown backend `{name}`", suggest(name, targets.backends, "backends"), key=True)
        elif name in used and used[name].format == "wasm":
            hint = "remove it, and name a checkout (`source:`), or take it from the toolchain's package (`wheel: true`)"
            problems.add(here, "a runtime for wasm is not an archive", hint, key=True)
        for i, archive in enumerate(archives):
            must_exist((*here, i), archive.path, root, problems)


def twins(machine: str, runtime: Runtime, root: Path) -> Twins | None:
    """Return what of other machines' models this machine can run with host code of its own.

    It is what the preset `host` says of this machine, and the checkout, which `runtime` or the variable TVM_SOURCE_DIR
    may name; None for a machine that it does not know.
    """
    host = presets()["host"]
    meant = host.on(machine) if isinstance(host, MachinePreset) else None
    if meant is None:
        return None
    base, arch = meant
    triple = base.triples[arch].format(deployment_target=base.deployment_target)
    named = runtime.source or os.environ.get(VARIABLES[1])
    folder = None if not named else root / named
    if folder is not None and (folder / _INSIDE_MLC).is_dir():
        folder = folder / _INSIDE_MLC
    return Twins(base.platform, triple, None if folder is None else str(folder))
