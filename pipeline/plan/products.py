"""The part of the plan that is about products with steps of their own: layouts and Android libraries (AAR)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.matrix.cells import Product
from pipeline.matrix.matrix import Matrix
from pipeline.matrix.placement import Placement, filled, form_of
from pipeline.steps import aar, layout, shared_library, verify_layout

from .runtime import upstream_of_product


def layout_actions(matrix: Matrix, bundles: Iterable[str]) -> Iterator[AnyAction]:
    """One action for each product of kind `layout`.

    Args:
        matrix: what is built.
        bundles: subjects of the models that have a bundle.
    """
    having = frozenset(bundles)
    for product in matrix.products:
        if product.kind != "layout":
            continue
        params = _params(matrix, product)
        linked = {one.backend for one in params.placements if one.form == "shared"}
        yield Action(
            step="layout",
            run=layout.run,
            link_outputs=True,
            subject=product.name,
            params=params,
            upstream=inputs(matrix, product, having),
            tools=shared_library.tools(one for one in params.backends if one.name in linked),
            doc=f"libraries and bundles of {product.name}, where targets.yaml wants them",
            where=product.where,
        )


def placements(product: Product, matrix: Matrix) -> tuple[Placement, ...]:
    """What a layout has, in the order of its backends and of the matrix."""
    made = []
    for rule in product.layout:
        form = form_of(rule.library)
        for cell in matrix.every_cell:
            if form is not None and cell.backend.name == rule.backend:
                owner = matrix.library_of(cell).model.subject
                library, bundle = filled(rule.library, cell), rule.bundle and filled(rule.bundle, cell)
                names = (cell.model.subject, owner, cell.model.prefix, rule.backend)
                made.append(Placement(*names, library, form[0], bundle))
    return tuple(made)


def inputs(matrix: Matrix, product: Product, bundles: Iterable[str]) -> dict[str, Upstream]:
    """What goes into a layout: archives, modules, those of the bundles that are wanted, and outputs of other tasks."""
    edges = {roles.archive(name): Upstream(f"archive:{name}") for name in product.backends}
    edges |= upstream_of_product(matrix, product)
    edges |= {roles.of(roles.LAID_OUT, one.task): Upstream(one.task) for one in product.files}
    wanted = {one.subject for one in placements(product, matrix) if one.bundle is not None}
    return edges | {roles.bundle(name): Upstream(f"bundle:{name}") for name in sorted(wanted & frozenset(bundles))}


def proof_of(matrix: Matrix, product: Product, bundles: Iterable[str]) -> AnyAction:
    """The proof of a layout."""
    return Action(
        step="verify",
        run=verify_layout.run,
        subject=product.name,
        params=_params(matrix, product),
        upstream={**inputs(matrix, product, bundles), roles.KIT: Upstream(f"layout:{product.name}")},
        outputs=("report.json",),
        doc=f"prove that {product.name} holds what was proven",
        where=product.where,
    )


def _params(matrix: Matrix, product: Product) -> layout.Params:
    backends = matrix.backends_of(product)
    places = placements(product, matrix)
    return layout.Params(product.name, matrix.name, backends, places, product.runtime_libraries, product.files or None)


def aar_actions(matrix: Matrix, bundles: Iterable[str]) -> Iterator[AnyAction]:
    """One action for each product that has coordinates of Maven.

    Args:
        matrix: what is built.
        bundles: subjects of the models that have a bundle.
    """
    having = frozenset(bundles)
    for product in matrix.products:
        if product.maven is None:
            continue
        backends = matrix.backends_of(product)
        archives = {roles.archive(name): Upstream(f"archive:{name}") for name in product.backends}
        yield Action(
            step="aar",
            run=aar.run,
            link_outputs=True,
            subject=product.name,
            params=aar.Params(product.name, matrix.name, backends, product.maven, product.runtime_libraries),
            files={roles.TEMPLATES: product.templates} if product.templates is not None else {},
            upstream=archives | assets_of(matrix, product, having),
            tools=shared_library.tools(backends),
            doc=f"{product.name} as an Android library, in the layout of Maven",
            where=product.where,
        )


def assets_of(matrix: Matrix, product: Product, bundles: Iterable[str]) -> dict[str, Upstream]:
    """The bundles that go with an Android library."""
    if product.maven is None or product.maven.assets == "no":
        return {}
    subjects = {cell.model.subject for cell in matrix.every_cell if cell.backend.name in product.backends}
    return {roles.bundle(name): Upstream(f"bundle:{name}") for name in sorted(subjects & frozenset(bundles))}
