"""The part of the plan that is about Android libraries (AAR). `plan` calls it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.matrix.cells import Product
from pipeline.matrix.matrix import Matrix
from pipeline.steps import aar, shared_library


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
        backends = tuple(one for name in product.backends for one in matrix.backends if one.name == name)
        archives = {roles.archive(name): Upstream(f"archive:{name}") for name in product.backends}
        yield Action(
            step="aar",
            run=aar.run,
            link_outputs=True,
            subject=product.name,
            out=f"build/aar/{product.name}",
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
    cells = (*matrix.cells, *matrix.sharing)
    subjects = {cell.model.subject for cell in cells if cell.backend.name in product.backends}
    return {roles.bundle(name): Upstream(f"bundle:{name}") for name in sorted(subjects & frozenset(bundles))}
