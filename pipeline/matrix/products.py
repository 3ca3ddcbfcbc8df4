"""A product of targets.yaml, checked against the backends and models that go into it; `expand` calls `resolve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipeline.platforms import ANDROID_ABIS, ANDROID_LIBRARIES, PRODUCT_PLATFORMS

from . import layouts, schema
from .cells import Backend, Cell, Maven, Product
from .diagnostics import Diagnostics, suggest
from .document import Steps
from .matrix import lacking, lacking_words
from .paths import must_exist, normal

_TAKEN = frozenset({"bundle", "manifest.json"})
"""Names under dist/ that are not a product's."""

PROGRAMS = ("cpp", "rust")

_KEYS_OF_KINDS = {
    "base_url": (("web",), "a product of kind {} is not fetched by pages"),
    "programs": (("native",), "no program is built from a kit of kind {}"),
    "layout": (("layout",), "a product of kind {} has a tree of its own"),
    "files": (("layout",), "a product of kind {} has a tree of its own"),
    "maven": (("android",), "an AAR is made of a product of kind android, not {}"),
    "runtime_libraries": (("layout", "android"), "no shared library is linked for a product of kind {}"),
}
"""Keys that only some kinds have, and what to say of another."""


def resolve(
    name: str,
    spec: schema.Product,
    backends: Mapping[str, Backend | None],
    cells: Sequence[Cell],
    outputs: Mapping[str, layouts.Outputs],
    *,
    root: Path,
    problems: Diagnostics,
) -> Product:
    """Return the product, after reporting what is wrong with it.

    `backends` has all that are defined, and None for one that is wrong (and reported); `cells` is everything in the
    matrix, `outputs` has the tasks whose outputs a layout can have.
    """
    here = ("products", name)
    if name.lower() in _TAKEN:
        problems.add(here, f"dist/{name} is taken", "give the product another name", key=True)
    if name.lower() in {backend.lower() for backend in backends}:
        what = f"`{name}` is a backend too, and both would be verified as verify:{name}"
        problems.add(here, what, "give one of them another name", key=True)
    if spec.maven is not None and f"lib{name}.so" in ANDROID_LIBRARIES:
        what = f"its library would be lib{name}.so, and Android, the NDK or TVM has one of that name"
        problems.add(here, what, "give the product another name, such as models: an app would load that one", key=True)
    used = {cell.backend.name for cell in cells}
    held: list[tuple[Steps, Backend]] = []
    for i, wanted in enumerate(spec.backends):
        place = (*here, "backends", i)
        if wanted not in backends:
            problems.add(place, f"unknown backend `{wanted}`", suggest(wanted, backends, "backends"))
        elif (backend := backends[wanted]) is not None:
            held.append((place, backend))
            if used and wanted not in used:
                hint = f"add {wanted} to matrix.backend, or remove it here"
                problems.add(place, f"no cell of the matrix is compiled for backend `{wanted}`", hint)
    fitting = [(place, backend) for place, backend in held if _fits(place, spec.kind, backend, problems)]
    _check_twins(spec.kind, fitting, problems)
    if spec.kind == "xcframework":
        _check_models([one for one in fitting if one[1].name in used], cells, problems)
    if spec.templates is not None:
        must_exist((*here, "templates"), spec.templates, root, problems, folder=True)
    _check_keys(here, spec, problems)
    both = PROGRAMS if spec.kind == "native" else ()
    layout, files = (
        layouts.resolve(here, spec, fitting, cells, outputs, problems=problems) if spec.kind == "layout" else ((), ())
    )
    return Product(
        name=name,
        kind=spec.kind,
        backends=spec.backends,
        templates=None if spec.templates is None else normal(spec.templates),
        where=problems.document.at(here, key=True),
        base_url=spec.base_url,
        programs=both if spec.programs is None else spec.programs,
        layout=layout,
        files=files,
        runtime_libraries=spec.runtime_libraries,
        maven=None if spec.maven is None else _maven(spec.maven),
    )


def _check_keys(here: Steps, spec: schema.Product, problems: Diagnostics) -> None:
    """Report keys that a product of this kind does not have, or lacks."""
    if not spec.backends and (spec.kind != "layout" or not spec.files):
        hint = "add `backends:`" + (", or `files:`" if spec.kind == "layout" else "")
        problems.add(here, "the key `backends` is missing", hint, key=True)
    for key, (kinds, what) in _KEYS_OF_KINDS.items():
        if getattr(spec, key) is not None and spec.kind not in kinds:
            problems.add((*here, key), what.format(spec.kind), "remove this key")
    if spec.kind == "android" and spec.runtime_libraries is not None and spec.maven is None:
        problems.add(
            (*here, "runtime_libraries"), "only an AAR has shared libraries", "add `maven`, or remove this key"
        )


def _maven(spec: schema.Maven) -> Maven:
    assets: Literal["no", "yes", "play-asset-pack"] = "yes" if spec.assets is True else spec.assets or "no"
    return Maven(spec.group, spec.artifact, spec.version, assets)


def _fits(place: Steps, kind: str, backend: Backend, problems: Diagnostics) -> bool:
    """Whether a product of this kind can hold the backend."""
    if backend.platform not in PRODUCT_PLATFORMS[kind]:
        what = f"a product of kind {kind} cannot hold `{backend.name}`, whose platform is {backend.platform}"
        able = [other for other, platforms in PRODUCT_PLATFORMS.items() if backend.platform in platforms]
        kinds = f"{', '.join(able[:-1])} or {able[-1]}" if able[1:] else "".join(able)
        problems.add(place, what, f"put it into a product of kind {kinds}")
    elif kind == "android" and backend.arch not in ANDROID_ABIS:
        problems.add(place, f"{backend.arch} is not an ABI of Android", f"use one of {', '.join(ANDROID_ABIS)}")
    else:
        return True
    return False


def _check_twins(kind: str, held: Sequence[tuple[Steps, Backend]], problems: Diagnostics) -> None:
    """The build of an app chooses a library by platform and architecture; where paths do, there may be several."""
    first: dict[tuple[str, str], Backend] = {}
    for place, backend in held:
        twin = first.setdefault((backend.platform, backend.arch), backend)
        if twin is not backend and kind not in ("web", "layout"):
            what = f"`{twin.name}` and `{backend.name}` are both {backend.platform} {backend.arch}"
            has = {"xcframework": "an xcframework has one slice", "android": "an android product has one library"}
            rule = has.get(kind, f"a {kind} product has one library")
            problems.add(place, what, f"keep one: {rule} for each platform and architecture")


def _check_models(held: Sequence[tuple[Steps, Backend]], cells: Sequence[Cell], problems: Diagnostics) -> None:
    """Report slices that lack a model; those with models that mlc_llm names are looked at in `plan.library_names`."""
    places = {backend.name: place for place, backend in held}
    if not any(cell.model.unnamed for cell in cells if cell.backend.name in places):
        for name, subjects in lacking(places, cells).items():
            problems.add(places[name], *lacking_words(name, subjects))
