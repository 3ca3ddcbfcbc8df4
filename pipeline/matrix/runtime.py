"""The section `runtime` of targets.yaml, where the runtime of each backend comes from; `expand` calls `resolve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from . import schema
from .cells import Backend, Cell, Product, Runtime
from .diagnostics import Diagnostics, suggest
from .paths import checkout, must_exist, normal

VARIABLES = ("MLC_LLM_SOURCE_DIR", "TVM_SOURCE_DIR")
"""Variables by which users of mlc_llm and TVM say where their checkouts are."""

_HERE = ("runtime",)


def resolve(
    targets: schema.Targets, cells: Sequence[Cell], products: Sequence[Product], root: Path, problems: Diagnostics
) -> Runtime | None:
    """Return the runtime, after reporting what is wrong with it; None where there is no such section.

    Args:
        targets: the file.
        cells: everything that is compiled.
        products: all products.
        root: directory that paths are relative to.
        problems: gets the problems.
    """
    spec = targets.runtime
    if spec is None:
        return None
    used = {cell.backend.name: cell.backend for cell in cells}
    for i, name in enumerate(spec.backends or ()):
        if name not in used:
            hint = suggest(name, used, "backends")
            problems.add((*_HERE, "backends", i), f"no cell is compiled for backend `{name}`", hint)
    _check_prebuilt(targets, spec, used, root, problems)
    in_products = [name for product in products for name in product.backends]
    wanted = spec.backends or (*(name for name in in_products if _has_one(spec, used.get(name))), *spec.prebuilt)
    backends = tuple(name for name in dict.fromkeys(wanted) if name in used)
    _check_complete(spec, backends, products, used, problems)
    source = checkout((*_HERE, "source"), spec.source, VARIABLES, problems)
    if source is not None:
        must_exist((*_HERE, "source"), source, root, problems, folder=True)
    return Runtime(
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


def _has_one(spec: schema.Runtime, backend: Backend | None) -> bool:
    """Whether there can be a runtime for a backend: a package has one for some of them."""
    return not spec.wheel or backend is None or backend.format == "wasm"


def _check_complete(
    spec: schema.Runtime,
    backends: Sequence[str],
    products: Sequence[Product],
    used: Mapping[str, Backend],
    problems: Diagnostics,
) -> None:
    """Every backend has its runtime from somewhere, and every product one for all of its backends or for none."""
    nowhere = [] if spec.source is not None else [name for name in backends if name not in spec.prebuilt]
    if spec.wheel:
        nowhere = [name for name in nowhere if not _has_one(spec, used[name])]
    if nowhere:
        what = f"nothing says where the runtime of {', '.join(nowhere)} comes from"
        problems.add(_HERE, what, "add `source:`, or archives in `prebuilt:`; `backends:` leaves some out", key=True)
    for product in products:
        lacking = [name for name in product.backends if name in used and name not in backends]
        if lacking and len(lacking) < len(product.backends):
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
