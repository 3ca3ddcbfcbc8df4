"""A product of targets.yaml, checked against the backends it is made of.

`expand` calls `resolve`. What each kind of product can hold is written here, and how it is built is not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from pipeline.platforms import PRODUCT_PLATFORMS, Platform

from . import schema
from .cells import Backend, Product
from .models import normal
from .problems import Report, suggest

_TAKEN = frozenset({"bundle", "manifest.json"})
"""Names under dist/ that are not a product's."""


def resolve(
    name: str,
    spec: schema.Product,
    backends: Mapping[str, Backend | None],
    *,
    used: Collection[str],
    root: Path,
    report: Report,
) -> Product:
    """Return the product, after reporting what is wrong with it.

    Args:
        name: its name.
        spec: what targets.yaml says.
        backends: all that are defined; None for one that is wrong (and reported).
        used: names of those that some cell is compiled for.
        root: directory that paths are relative to.
        report: gets the problems.
    """
    here = ("products", name)
    if name.lower() in _TAKEN:
        report.add(here, f"dist/{name} is taken", "give the product another name", key=True)
    if name.lower() in {backend.lower() for backend in backends}:
        what = f"`{name}` is a backend too, and both would be verified as verify:{name}"
        report.add(here, what, "give one of them another name", key=True)
    slices: dict[tuple[Platform, str], str] = {}
    for i, wanted in enumerate(spec.backends):
        place = (*here, "backends", i)
        if wanted not in backends:
            report.add(place, f"unknown backend `{wanted}`", suggest(wanted, backends, "backends"))
        elif wanted in spec.backends[:i]:
            report.add(place, f"`{wanted}` is named twice", "name it once")
        elif (backend := backends[wanted]) is not None:
            if wanted not in used:
                hint = f"add {wanted} to matrix.backend, or remove it here"
                report.add(place, f"no cell of the matrix is compiled for backend `{wanted}`", hint)
            _check_slice(place, spec.kind, backend, slices, report)
    if spec.templates is not None and not (root / spec.templates).is_dir():
        report.add((*here, "templates"), f"there is no directory `{spec.templates}`", report.relative)
    if spec.base_url is not None and spec.kind != "web":
        report.add((*here, "base_url"), f"a product of kind {spec.kind} is not fetched by pages", "remove this key")
    return Product(
        name=name,
        kind=spec.kind,
        backends=spec.backends,
        templates=None if spec.templates is None else normal(spec.templates),
        where=report.document.at(here, key=True),
        base_url=spec.base_url,
    )


def _check_slice(
    place: tuple[str | int, ...],
    kind: str,
    backend: Backend,
    slices: dict[tuple[Platform, str], str],
    report: Report,
) -> None:
    """Check that a product of this kind can hold the backend; `slices` is what it holds so far."""
    if backend.platform not in PRODUCT_PLATFORMS[kind]:
        what = f"a product of kind {kind} cannot hold `{backend.name}`, whose platform is {backend.platform}"
        able = [other for other, platforms in PRODUCT_PLATFORMS.items() if backend.platform in platforms]
        report.add(place, what, f"put it into a product of kind {' or '.join(able)}")
    elif kind == "xcframework":
        first = slices.setdefault((backend.platform, backend.arch), backend.name)
        if first != backend.name:
            what = f"`{first}` and `{backend.name}` are both {backend.platform} {backend.arch}"
            report.add(place, what, "keep one: an xcframework has one slice for each platform and architecture")
