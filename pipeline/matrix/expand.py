"""From a matrix file to a `Matrix`: `project` and the commands call `load`.

In this folder `spec` is what the file says of one thing, `root` what paths are relative to, and `problems` gets what is
wrong. `expand` checks the rules that need two places of the file. It reports all problems it finds, and none that
merely follows from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from . import (
    backends,
    custom_steps,
    devices,
    layouts,
    models,
    products,
    runtime,
    schema,
    selection,
)
from .cells import Cell, Toolchain
from .diagnostics import Diagnostics, suggest
from .document import Document, Steps
from .loader import read
from .matrix import Matrix, share
from .model_schema import ANY_BACKEND
from .paths import checkout
from .presets import this_machine


def load(path: Path, *, building: bool = True) -> Matrix:
    """Read a matrix file and expand it.

    Args:
        path: the file, usually `targets.yaml`. Paths written in it are relative to its directory, and positions in
            messages name the file just as it is given here.
        building: whether something is to be built of it. Who only asks what there is needs no checkouts, and gets a
            matrix without toolchains' sources and without a runtime.

    Raises:
        MatrixError: the file is missing or wrong. All problems that can be seen at once are in the one message, sorted
            by position, each with a hint.
    """
    targets, document = read(path)
    return expand(targets if building else without_checkouts(targets), document, path)


def expand(targets: schema.Targets, document: Document, path: Path, machine: str | None = None) -> Matrix:
    """Expand a validated file; `machine` is what the preset `host` stands for, this one where it is not given.

    Raises:
        MatrixError: with every problem found.
    """
    problems = Diagnostics(document)
    root = path.absolute().parent
    _check_complete(targets, problems)
    selection.refuse_too_many(targets, problems)
    toolchains = _toolchains(targets, problems)
    machine = machine or this_machine()
    names = _names(targets, toolchains, machine, problems)
    every = selection.cells(targets.matrix, names, problems)
    cells, sharing = share(every)
    _check_prefixes(cells, problems)
    for model in dict.fromkeys(cell.model.model for cell in every):
        models.missing_files(model, targets.models[model], root, problems)
    variants = tuple({cell.model.subject: cell.model for cell in every}.values())
    files = tuple(models.files(targets, root, problems))
    steps = custom_steps.resolve(targets, cells, [*variants, *files], root, problems)
    outputs = layouts.outputs_of(every, variants, files, steps)
    made = [
        products.resolve(name, spec, names.backends, every, outputs, root=root, problems=problems)
        for name, spec in targets.products.items()
    ]
    beside = runtime.resolve(targets, cells, made, root, problems)
    able = devices.resolve(targets, every, names.known["model"], names.files, problems)
    layouts.check_modules(made, beside, problems)
    problems.raise_if_any()
    return Matrix(
        path=path,
        root=root,
        name=targets.name,
        toolchains=toolchains,
        cells=cells,
        models=variants,
        backends=tuple({cell.backend.name: cell.backend for cell in cells}.values()),
        products=tuple(made),
        runtime=beside,
        sharing=sharing,
        twins=runtime.twins(machine, beside, root),
        devices=able,
        steps=steps,
        runtime_version=targets.runtime_version,
        remarks=tuple(models.remarks(targets, chain(*names.models.values()), problems)),
        files=files,
    )


def without_checkouts(targets: schema.Targets) -> schema.Targets:
    """The file without what it takes from checkouts, which have no part in the names of anything."""
    toolchains = {name: spec.model_copy(update={"source": None}) for name, spec in targets.toolchains.items()}
    return targets.model_copy(update={"toolchains": toolchains, "runtime": None})


def _check_complete(targets: schema.Targets, problems: Diagnostics) -> None:
    """Report what a file with models to compile lacks; nothing else is worth saying then."""
    compiled = next((name for name, spec in targets.models.items() if not models.is_file(spec)), None)
    for key in ("backends", "matrix"):
        if compiled is not None and key not in targets.model_fields_set:
            hint = f"add `{key}:`, which says where {compiled} is compiled for"
            problems.add((), f"the key `{key}` is missing", hint, key=True)
    problems.raise_if_any()


def _names(
    targets: schema.Targets, toolchains: Sequence[Toolchain], machine: str, problems: Diagnostics
) -> selection.Names:
    """What every name of the file means, after checking those that must be there and those that must differ."""
    known = [one.name for one in toolchains]
    _check_names_of_models(targets, known, problems)
    compiled = {name: spec for name, spec in targets.models.items() if not models.is_file(spec)}
    # The first fitting pattern of `model_types` counts; a type of the model's own wins.
    types = targets.model_types.items()
    kinds = {name: next((kind for pattern, kind in types if fnmatchcase(name, pattern)), None) for name in compiled}
    variants = {name: models.variants(name, spec, problems, kinds[name]) for name, spec in compiled.items()}
    resolved = {name: backends.resolve(name, spec, problems, machine) for name, spec in targets.backends.items()}
    files = targets.models.keys() - compiled.keys()
    every = [one for of_model in variants.values() for one in of_model]
    subjects = [(("models", one.model, "variants", one.variant), one.subject) for one in every]
    _must_differ([*subjects, *((("models", name), name) for name in files)], problems)
    for section in ("backends", "devices", "steps"):
        _must_differ([((section, name), name) for name in getattr(targets, section)], problems)
    spelt = [(name, name + end) for name, spec in targets.products.items() for end in _ENDS[spec.kind]]
    _must_differ([(("products", name), one) for name, one in spelt], problems, in_code=True)
    aars = [(name, spec.maven) for name, spec in targets.products.items() if spec.maven is not None]
    named = [(("products", name, "maven", "artifact"), f"{maven.group}.{maven.artifact}") for name, maven in aars]
    _must_differ(named, problems, in_code=True)
    return selection.Names(variants, resolved, known, files)


_ENDS = {"xcframework": ("", "Kit", "Models"), "web": ("",), "layout": ("",)} | dict.fromkeys(
    ("android", "native"), ("", "_exports")
)
"""What a product's name has behind it where it names modules of Swift, or targets of CMake."""


def _toolchains(targets: schema.Targets, problems: Diagnostics) -> tuple[Toolchain, ...]:
    """All toolchains, `current` first and always."""
    if targets.toolchains.get("current", schema.Toolchain()) != schema.Toolchain():
        what = "`current` is the Python that runs doit and takes no keys"
        hint = "give the environment another name, or write `current: {}`"
        problems.add(("toolchains", "current"), what, hint, key=True)
    made = []
    for name, spec in {"current": schema.Toolchain(), **targets.toolchains}.items():
        source = checkout(("toolchains", name, "source"), spec.source, ("MLC_LLM_SOURCE_DIR",), problems)
        where = problems.document.at(("toolchains", name), key=True)
        made.append(Toolchain(name=name, where=where, **{**spec.model_dump(), "source": source}))
    return tuple(made)


def _check_names_of_models(targets: schema.Targets, toolchains: list[str], problems: Diagnostics) -> None:
    """Toolchains and backends that a model names must be there."""
    for name, spec in targets.models.items():
        if spec.toolchain is not None and spec.toolchain not in toolchains:
            place, hint = ("models", name, "toolchain"), suggest(spec.toolchain, toolchains, "toolchains")
            problems.add(place, f"unknown toolchain `{spec.toolchain}`", hint)
        for backend in spec.prebuilt or {}:
            if backend not in (ANY_BACKEND, *targets.backends):
                known = suggest(backend, targets.backends, "backends")
                problems.add(("models", name, "prebuilt", backend), f"unknown backend `{backend}`", known, key=True)


def _must_differ(named: Iterable[tuple[Steps, str]], problems: Diagnostics, *, in_code: bool = False) -> None:
    """Names become tasks and directories, on file systems that may not tell upper from lower case.

    With `in_code` they become names of targets, packages and variables, in which other characters are `_`, and one more
    `_` ends what is a word of the language.
    """
    seen: dict[str, str] = {}
    for place, name in named:
        spelt = re.sub(r"[^a-z0-9]", "_", name.lower()).strip("_") if in_code else name.lower()
        first = seen.setdefault(spelt, ".".join(map(str, place)))
        if first != ".".join(map(str, place)):
            what = f"`{name}` is also the name of {first}, or "
            how = f"is spelt like it in code: {spelt}" if in_code else "differs from it only in upper and lower case"
            problems.add(place, what + how, "rename one", key=True)


def _check_prefixes(cells: Iterable[Cell], problems: Diagnostics) -> None:
    """All models of a backend are linked into one archive, where equal prefixes are equal symbols."""
    owners: dict[tuple[str, str], Cell] = {}
    reported = set()
    for cell in cells:
        model, backend = cell.model, cell.backend.name
        first = owners.setdefault((backend, model.prefix), cell)
        if first.model is model and first is not cell:
            what = f"{first.subject} and {cell.subject} would both be in the library of {backend}"
            problems.add(("matrix",), what, "exclude one of them", key=True)
        elif first.model is not model and (first.model.subject, model.subject) not in reported:
            reported.add((first.model.subject, model.subject))
            what = f"{first.model.subject} and {model.subject} have the same prefix `{model.prefix}` in {backend}"
            place = ("models", model.model, "variants", model.variant)
            problems.add(place, what, "set `system_lib_prefix` in one of these variants", key=True)
