"""The tree of a product of kind `layout`: patterns of paths, and what they come to for the cells of the matrix.

Besides libraries it has bundles of any models, and outputs of custom steps. `products` has patterns checked here when
targets.yaml is read, `plan` fills them in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from pipeline.platforms import ANDROID_LIBRARIES, unportable

from . import schema
from .cells import (
    LIBRARY_FORMS,
    Backend,
    Cell,
    FilePlacement,
    LayoutRule,
    ModelVariant,
    Product,
    Runtime,
    filled,
    form_of,
)
from .diagnostics import Diagnostics, suggest
from .document import Steps
from .matrix import CustomStep, ModelFile
from .placeholders import wrong_names

_RESERVED = frozenset({"link.json", "manifest.json"})

PLACEHOLDERS = ("model", "variant", "subject", "backend")


@dataclass(frozen=True)
class Outputs:
    """What a task puts out, as far as it is known before it has run.

    Attributes:
        values: what placeholders stand for in a path of it.
        one_file: whether it may be a single file.
    """

    values: Mapping[str, str]
    one_file: bool


def outputs_of(
    cells: Iterable[Cell], models: Sequence[ModelVariant], files: Sequence[ModelFile], steps: Iterable[CustomStep]
) -> dict[str, Outputs]:
    """Every task whose outputs a layout can have, by name."""
    named: list[ModelFile | ModelVariant | Cell] = [*files, *models, *cells]
    known = {one.subject: one.names for one in named}
    found = {f"bundle:{one.subject}": Outputs(one.names, one_file=True) for one in files}
    found |= {f"bundle:{one.subject}": Outputs(one.names, one_file=False) for one in models if one.has_bundle}
    for step in steps:
        names = known.get(step.subject, {"subject": step.subject})
        found[step.task] = Outputs(names, one_file=len(step.outputs) == 1)
    return found


def resolve(
    here: Steps,
    spec: schema.Product,
    backends: Collection[tuple[Steps, Backend]],
    cells: Sequence[Cell],
    tasks: Mapping[str, Outputs],
    *,
    problems: Diagnostics,
) -> tuple[tuple[LayoutRule, ...], tuple[FilePlacement, ...]]:
    """Return the rules of a layout and what else is in it, after reporting what is wrong with them.

    `here` is the place of the product, `backends` are those of its backends that are as they should be, and `tasks`
    what else may be in it.
    """
    rules = spec.layout or {}
    for name in rules:
        if name not in spec.backends:
            hint = suggest(name, spec.backends, "backends of the product")
            problems.add((*here, "layout", name), f"`{name}` is no backend of this product", hint, key=True)
    sound: list[LayoutRule] = []
    for place, backend in backends:
        rule = rules.get(backend.name)
        if rule is None:
            hint = f'add it under `layout`: {backend.name}: {{library: "{backend.name}/{{subject}}.tar"}}'
            problems.add(place, f"nothing says where `{backend.name}` goes", hint)
        elif _check_rule((*here, "layout", backend.name), rule, backend, problems):
            sound.append(LayoutRule(backend.name, rule.library, rule.bundle))
    files = list(_files(here, spec, tasks, problems))
    phones = {backend.name for _, backend in backends if backend.platform == "android"}
    taken: dict[str, _Taken] = {}
    clashing = set()
    for place, one in _wanted(sound, cells, files):
        if one.kind == "library" and place[1] in phones and one.path.rpartition("/")[2] in ANDROID_LIBRARIES:
            what = f"Android, the NDK or TVM has a library that is called as `{one.path}`"
            problems.add((*here, *place), what, "give it another name: an app would load that one")
        elif one.owner not in clashing and (problem := _claim(one, taken)) is not None:
            clashing.add(one.owner)
            problems.add((*here, *place), *problem)
    return tuple(sound), tuple(one for _, one in files)


def _files(
    here: Steps, spec: schema.Product, tasks: Mapping[str, Outputs], problems: Diagnostics
) -> Iterator[tuple[Steps, FilePlacement]]:
    """What goes where, each with its place in the file, after reporting what is wrong."""
    for name, one in (spec.files or {}).items():
        place = (*here, "files", name)
        chosen = [task for task in tasks if "*" not in name.partition(":")[0] and fnmatchcase(task, name)]
        if not chosen:
            what = f"there is no bundle and no step `{name}`"
            nearest = name if ":" in name else f"bundle:{name}"
            problems.add(place, what, suggest(nearest, tasks, "bundles and steps"), key=True)
            continue
        key, pattern = ("file", one.file) if one.file is not None else ("directory", str(one.directory))
        several = [task for task in chosen if not tasks[task].one_file]
        known = [name for name in tasks[chosen[0]].values if all(name in tasks[task].values for task in chosen)]
        if key == "file" and several:
            what = f"{several[0]} puts out several files"
            problems.add((*place, key), what, "name a `directory` for them, instead of `file`", key=True)
        elif (wrong := wrong_pattern(pattern, known)) is not None:
            problems.add((*place, key), *wrong)
        else:
            for task in chosen:
                path = pattern.format(**tasks[task].values)
                yield (*place, key), FilePlacement(task, path, alone=key == "file")


def check_modules(products: Iterable[Product], runtime: Runtime, problems: Diagnostics) -> None:
    """Report modules for pages that have no runtime to be linked with."""
    for product in products:
        for rule in product.layout:
            if form_of(rule.library) == LIBRARY_FORMS[".wasm"] and rule.backend not in runtime.backends:
                place = ("products", product.name, "layout", rule.backend, "library")
                what = f"a module is linked with the TVM runtime, and there is none for `{rule.backend}`"
                problems.add(place, what, "add `runtime: {wheel: true}`, or let the path end in .tar or .a")


def _check_rule(here: Steps, rule: schema.LaidOut, backend: Backend, problems: Diagnostics) -> bool:
    """Whether both patterns of a backend can be filled in."""
    patterns = {"library": rule.library} | ({"bundle": rule.bundle} if rule.bundle is not None else {})
    wrong = {key: why for key, pattern in patterns.items() if (why := wrong_pattern(pattern)) is not None}
    for key, why in wrong.items():
        problems.add((*here, key), *why)
    if wrong:
        return False
    form = form_of(rule.library)
    able = [suffix for suffix, (_, platforms) in LIBRARY_FORMS.items() if backend.platform in platforms]
    if form is not None and backend.platform in form[1]:
        return True
    what = f"`{rule.library}` is no form that a library for {backend.platform} has"
    problems.add((*here, "library"), what, f"let it end in {', '.join(able[:-1])} or {able[-1]}")
    return False


class _Taken(NamedTuple):
    path: str
    kind: Literal["library", "bundle", "file", "directory"]
    owner: str
    subject: str = ""

    def __str__(self) -> str:
        if self.kind == "directory":
            return f"the directory `{self.path}` of {self.owner}"
        return f"the {self.kind} of {self.owner}"


def _wanted(
    rules: Sequence[LayoutRule], cells: Sequence[Cell], files: Iterable[tuple[Steps, FilePlacement]]
) -> Iterator[tuple[Steps, _Taken]]:
    """Every path of a layout, with its place in the product."""
    for rule in rules:
        for cell in (cell for cell in cells if cell.backend.name == rule.backend):
            owner, subject = f"{cell.model.subject} for {rule.backend}", cell.model.subject
            yield ("layout", rule.backend, "library"), _Taken(filled(rule.library, cell), "library", owner, subject)
            if rule.bundle is not None:
                yield ("layout", rule.backend, "bundle"), _Taken(filled(rule.bundle, cell), "bundle", owner, subject)
    for place, one in files:
        yield place[2:], _Taken(one.path, "file" if one.alone else "directory", one.task)


def _claim(wanted: _Taken, taken: dict[str, _Taken]) -> tuple[str, str] | None:
    """Note a path and the directories around it, or say who has it, also where file systems fold upper and lower case.

    Outputs of two tasks may be in one directory, and the step sees whether they agree.
    """
    parts = wanted.path.split("/")
    if why := unportable(wanted.path):
        return f"`{wanted.path}` {why}", "give it another name"
    if _folded(parts[0]) in _RESERVED:
        return f"`{parts[0]}` is a file that every product has", "give it another name"
    around = ["/".join(parts[:count]) for count in range(1, len(parts))]
    for one in (*(wanted._replace(path=path, kind="directory") for path in around), wanted):
        other = taken.setdefault(_folded(one.path), one)
        if other is one:
            continue
        if other.path != one.path:
            what = f"`{one.path}` and `{other.path}` differ only in upper and lower case"
            return what, "spell both alike: not every file system tells them apart"
        if {"library", "file"} & {other.kind, one.kind} or (
            other.kind == one.kind == "bundle" and other.subject != one.subject
        ):
            what = f"{wanted} would be where {other} is, in `{one.path}`"
            return what, "tell them apart with {model}, {variant}, {subject} or {backend}"
        if one.kind == "bundle":
            taken[_folded(one.path)] = one
    return None


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def wrong_pattern(pattern: str, known: Collection[str] = PLACEHOLDERS) -> tuple[str, str] | None:
    """What is wrong with a pattern in which these placeholders stand for something, and the hint."""
    names = ", ".join(f"{{{name}}}" for name in known)
    wrong = next(wrong_names(pattern, known), None)
    if wrong in {"{", "}"}:
        return f"`{pattern}` is no pattern: it has a brace of its own", f"write placeholders as one of {names}"
    if wrong is not None:
        ours = wrong in PLACEHOLDERS
        what = f"`{{{wrong}}}` stands for nothing here" if ours else f"unknown placeholder `{{{wrong}}}`"
        return what, f"use {names}"
    unsafe = "\\" in pattern or ":" in pattern or not pattern.isprintable()
    if unsafe or not {"", ".", ".."}.isdisjoint(pattern.split("/")):
        return f"`{pattern}` is not a path inside the product", "write names with `/` between, without `.` and `..`"
    return None
