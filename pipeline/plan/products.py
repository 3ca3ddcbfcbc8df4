"""The part of the plan that is about products: layouts, Android libraries (AAR), and what is put into `dist/`.

That is what is proven, and the list of it, which is made last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.documents.manifest import Manifest, ManifestProduct
from pipeline.errors import Position
from pipeline.matrix.cells import Placement, Product, filled, form_of
from pipeline.matrix.matrix import Matrix
from pipeline.steps import aar, layout, manifest, shared_library, verify_layout
from pipeline.steps import product as product_step

from .devices import shipped_devices
from .lockfile import Pins
from .models import by_role
from .runtime import upstream_of_product

DIST = "dist/"
"""What is shipped; nothing but `product` and `manifest` writes there."""


def layout_actions(matrix: Matrix, bundles: Sequence[str]) -> Iterator[AnyAction]:
    """One action for each product of kind `layout`; `bundles` are the subjects of the models that have one."""
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
            upstream=inputs(matrix, product, bundles),
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
    edges = by_role(map(roles.archive, product.backends)) | upstream_of_product(matrix, product)
    edges |= {roles.of(roles.LAID_OUT, one.task): Upstream(one.task) for one in product.files}
    wanted = {one.subject for one in placements(product, matrix) if one.bundle is not None}
    return edges | by_role(map(roles.bundle, sorted(wanted.intersection(bundles))))


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


def aar_actions(matrix: Matrix, bundles: Sequence[str]) -> Iterator[AnyAction]:
    """One action for each product that has coordinates of Maven; `bundles` as for `layout_actions`."""
    for product in matrix.products:
        if product.maven is None:
            continue
        backends = matrix.backends_of(product)
        yield Action(
            step="aar",
            run=aar.run,
            link_outputs=True,
            subject=product.name,
            params=aar.Params(product.name, matrix.name, backends, product.maven, product.runtime_libraries),
            files={roles.TEMPLATES: product.templates} if product.templates is not None else {},
            upstream=by_role(map(roles.archive, product.backends)) | assets_of(matrix, product, bundles),
            tools=shared_library.tools(backends),
            doc=f"{product.name} as an Android library, in the layout of Maven",
            where=product.where,
        )


def assets_of(matrix: Matrix, product: Product, bundles: Iterable[str]) -> dict[str, Upstream]:
    """The bundles that go with an Android library."""
    if product.maven is None or product.maven.assets == "no":
        return {}
    subjects = {cell.model.subject for cell in matrix.every_cell if cell.backend.name in product.backends}
    return by_role(map(roles.bundle, sorted(subjects.intersection(bundles))))


def shipped(
    subject: str, upstream: Mapping[str, Upstream], doc: str, where: Position | None
) -> Action[product_step.Params]:
    """The action that puts its parts into `dist/<subject>`, once what it waits for is proven."""
    return Action(
        step="product",
        run=product_step.run,
        link_outputs=True,
        subject=subject,
        out=f"{DIST}{subject}",
        params=product_step.Params(None),
        upstream=upstream,
        in_one_rename=True,
        doc=doc,
        where=where,
    )


def manifest_action(
    matrix: Matrix, lock: Pins, actions: Sequence[AnyAction], shipped: Iterable[AnyAction]
) -> AnyAction:
    """The action that lists what `shipped` publish, how it is proven, and which devices it is for."""
    places = {action.name: f"{action.out.removeprefix(DIST)}/" for action in shipped}
    proofs = (roles.proof(action.subject) for action in actions if action.step == "verify")
    devices, measured = shipped_devices(matrix, lock, actions)
    cells = {option.cell for options in measured.values() for option in options}
    return Action(
        step="manifest",
        run=manifest.run,
        subject="dist",
        out="dist",
        params=manifest.Params(
            tuple(ManifestProduct(one.name, one.kind, one.backends) for one in matrix.products),
            places,
            tuple(f"product:bundle/{one.name}" for one in matrix.files) or None,
            devices or None,
            measured or None,
        ),
        upstream={
            **by_role([*places, *proofs]),
            **{roles.of(roles.MEMORY, cell): Upstream(f"memory:{cell}") for cell in sorted(cells)},
        },
        outputs=(Manifest.NAME,),
        doc="size and sha256 of everything in dist/, and how it is proven",
    )
