"""From a validated file to a `Matrix`: every rule that needs two places of the file is checked on this way.

`load` calls `expand`. It reports all problems it finds, and none that merely follows from another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from . import backends, models, products, runtime, schema, selection
from .cells import Cell, Matrix, Toolchain
from .document import Document, Steps
from .presets import Machine
from .problems import Report, suggest

_CHECKOUT = "MLC_LLM_SOURCE_DIR"
"""The variable by which users of mlc_llm say where their checkout is; a toolchain's `source` may name it."""


def expand(targets: schema.Targets, document: Document, path: Path, machine: Machine | None = None) -> Matrix:
    """Expand a validated file.

    Args:
        targets: what it says.
        document: knows the positions in it.
        path: the file; paths in it are relative to its directory.
        machine: what the preset `host` stands for; this machine where it is not given.

    Raises:
        MatrixError: with every problem found.
    """
    report = Report(document)
    root = path.absolute().parent
    here = machine or Machine.current()
    toolchains = _toolchains(targets, report)
    _check_names_of_models(targets, [one.name for one in toolchains], report)
    variants = {name: models.variants(name, spec, report) for name, spec in targets.models.items()}
    resolved = {name: backends.resolve(name, spec, report, here) for name, spec in targets.backends.items()}
    every = [one for of_model in variants.values() for one in of_model]
    _check_names([(("models", one.model, "variants", one.variant), one.subject) for one in every], report)
    _check_names([(("backends", name), name) for name in targets.backends], report)
    _check_names([(("products", name), name) for name in targets.products], report)

    names = selection.Names(variants, resolved, [one.name for one in toolchains])
    cells = selection.cells(targets.matrix, names, report)
    _check_prefixes(cells, report)
    for model in dict.fromkeys(cell.model.model for cell in cells):
        models.missing_files(model, targets.models[model], root, report)
    used = {cell.backend.name: cell.backend for cell in cells}
    made = [
        products.resolve(name, spec, resolved, used=used or resolved, root=root, report=report)  # empty: one problem
        for name, spec in targets.products.items()
    ]
    beside = runtime.resolve(
        targets.runtime, used=used, defined=targets.backends, products=made, root=root, report=report
    )
    report.raise_if_any()
    return Matrix(
        path=path,
        root=root,
        name=targets.name,
        toolchains=toolchains,
        cells=tuple(cells),
        models=tuple({cell.model.subject: cell.model for cell in cells}.values()),
        backends=tuple(used.values()),
        products=tuple(made),
        runtime=beside,
    )


def without_checkouts(targets: schema.Targets) -> schema.Targets:
    """The file without what it takes from checkouts, which have no part in the names of anything."""
    toolchains = {name: spec.model_copy(update={"source": None}) for name, spec in targets.toolchains.items()}
    return targets.model_copy(update={"toolchains": toolchains, "runtime": None})


def _toolchains(targets: schema.Targets, report: Report) -> tuple[Toolchain, ...]:
    """All toolchains, `current` first and always."""
    if targets.toolchains.get("current", schema.Toolchain()) != schema.Toolchain():
        what = "`current` is the Python that runs doit and takes no keys"
        hint = "give the environment another name, or write `current: {}`"
        report.add(("toolchains", "current"), what, hint, key=True)
    named = {"current": schema.Toolchain(), **targets.toolchains}
    return tuple(
        Toolchain(
            name=name,
            where=report.document.at(("toolchains", name), key=True),
            **{**spec.model_dump(), "source": _checkout(name, spec.source, report)},
        )
        for name, spec in named.items()
    )


def _checkout(toolchain: str, written: str | None, report: Report) -> str | None:
    """A toolchain's `source`, with the variable in it replaced by what it says."""
    variable = f"[$](?:{_CHECKOUT}|[{{]{_CHECKOUT}[}}])"
    if written is None or not re.match(variable, written):
        return written
    said = os.environ.get(_CHECKOUT)
    if not said:
        hint = f"set it to a checkout of mlc-llm: export {_CHECKOUT}=/path/to/mlc-llm"
        report.add(("toolchains", toolchain, "source"), f"the variable {_CHECKOUT} is not set", hint)
        return written
    return re.sub(variable, lambda _: said, written)


def _check_names_of_models(targets: schema.Targets, toolchains: list[str], report: Report) -> None:
    """Toolchains and backends that a model names must be there."""
    for name, spec in targets.models.items():
        if spec.toolchain is not None and spec.toolchain not in toolchains:
            place, hint = ("models", name, "toolchain"), suggest(spec.toolchain, toolchains, "toolchains")
            report.add(place, f"unknown toolchain `{spec.toolchain}`", hint)
        for backend in spec.prebuilt or {}:
            if backend not in (schema.ANY_BACKEND, *targets.backends):
                known = suggest(backend, targets.backends, "backends")
                report.add(("models", name, "prebuilt", backend), f"unknown backend `{backend}`", known, key=True)


def _check_names(named: Iterable[tuple[Steps, str]], report: Report) -> None:
    """Names become tasks and directories, on file systems that may not tell upper from lower case."""
    seen: dict[str, str] = {}
    for place, name in named:
        first = seen.setdefault(name.lower(), ".".join(map(str, place)))
        if first != ".".join(map(str, place)):
            what = f"`{name}` is also the name of {first}"
            report.add(place, f"{what}, or differs from it only in upper and lower case", "rename one", key=True)


def _check_prefixes(cells: Iterable[Cell], report: Report) -> None:
    """All models of a backend are linked into one archive, where equal prefixes are equal symbols."""
    owners: dict[tuple[str, str], Cell] = {}
    reported = set()
    for cell in cells:
        model, backend = cell.model, cell.backend.name
        first = owners.setdefault((backend, model.prefix), cell)
        if first.model is model and first is not cell:
            what = f"{first.subject} and {cell.subject} would both be in the library of {backend}"
            report.add(("matrix",), what, "exclude one of them", key=True)
        elif first.model is not model and (first.model, model) not in reported:
            reported.add((first.model, model))
            what = f"{first.model.subject} and {model.subject} have the same prefix `{model.prefix}` in {backend}"
            place = ("models", model.model, "variants", model.variant)
            report.add(place, what, "set `system_lib_prefix` in one of these variants", key=True)
