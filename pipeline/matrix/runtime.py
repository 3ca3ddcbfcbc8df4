"""The section `runtime` of targets.yaml: where the runtime of each backend comes from.

`expand` calls `resolve`. Which platforms a runtime can be built for at all is the business of the steps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from . import schema
from .cells import Backend, Product, Runtime
from .models import normal
from .problems import Report, suggest

VARIABLES = ("MLC_LLM_SOURCE_DIR", "TVM_SOURCE_DIR")
"""Variables by which users of mlc_llm and TVM say where their checkouts are."""

_HERE = ("runtime",)


def resolve(
    spec: schema.Runtime | None,
    *,
    used: Mapping[str, Backend],
    defined: Collection[str],
    products: Sequence[Product],
    root: Path,
    report: Report,
) -> Runtime | None:
    """Return the runtime, after reporting what is wrong with it; None where there is no such section.

    Args:
        spec: what targets.yaml says.
        used: the backends that some cell is compiled for, by name.
        defined: names of all backends.
        products: all products.
        root: directory that paths are relative to.
        report: gets the problems.
    """
    if spec is None:
        return None
    _check_names(spec, used, report)
    _check_prebuilt(spec, used, defined, root, report)
    in_products = [name for product in products for name in product.backends]
    wanted = spec.backends or (*in_products, *spec.prebuilt)
    backends = tuple(name for name in dict.fromkeys(wanted) if name in used)
    nowhere = [name for name in backends if name not in spec.prebuilt]
    if spec.source is None and nowhere:
        what = f"nobody says where the runtime of {', '.join(nowhere)} comes from"
        report.add(_HERE, what, "add `source:`, or archives in `prebuilt:`; `backends:` leaves some out", key=True)
    for product in products:
        lacking = [name for name in product.backends if name in used and name not in backends]
        if lacking and len(lacking) < len(product.backends):
            what = f"product {product.name} has a runtime for some of its backends and none for {', '.join(lacking)}"
            report.add((*_HERE, "backends"), what, "name all of a product's backends, or none")
    return Runtime(
        source=_source(spec.source, root, report),
        libraries=spec.libraries,
        options=spec.options,
        prebuilt={
            name: tuple((normal(archive.path), archive.sha256) for archive in archives)
            for name, archives in spec.prebuilt.items()
        },
        backends=backends,
        where=report.document.at(_HERE, key=True),
    )


def _check_names(spec: schema.Runtime, used: Mapping[str, Backend], report: Report) -> None:
    for i, name in enumerate(spec.backends or ()):
        if name not in used:
            hint = suggest(name, used, "backends")
            report.add((*_HERE, "backends", i), f"no cell is compiled for backend `{name}`", hint)


def _check_prebuilt(
    spec: schema.Runtime, used: Mapping[str, Backend], defined: Collection[str], root: Path, report: Report
) -> None:
    for name, archives in spec.prebuilt.items():
        if name not in defined:
            hint = suggest(name, defined, "backends")
            report.add((*_HERE, "prebuilt", name), f"unknown backend `{name}`", hint, key=True)
        elif name in used and used[name].format == "wasm":
            hint = "remove it, and name a checkout: `source:`"
            report.add((*_HERE, "prebuilt", name), "a runtime for wasm is not an archive", hint, key=True)
        for i, archive in enumerate(archives):
            if not (root / archive.path).is_file():
                report.add((*_HERE, "prebuilt", name, i), f"there is no file `{archive.path}`", report.relative)


def _source(written: str | None, root: Path, report: Report) -> str | None:
    """The checkout, with a variable in front of it replaced by what it says."""
    if written is None:
        return None
    path = written
    named = re.match(rf"[$](?:({'|'.join(VARIABLES)})|[{{]({'|'.join(VARIABLES)})[}}])", written)
    if named is not None:
        variable = named[1] or named[2]
        said = os.environ.get(variable)
        if not said:
            hint = f"set it to a checkout: export {variable}=/path/to/checkout"
            report.add((*_HERE, "source"), f"the variable {variable} is not set", hint)
            return written
        path = said + written[named.end() :]
    if not (root / path).is_dir():
        report.add((*_HERE, "source"), f"there is no directory `{path}`", report.relative)
    return path
