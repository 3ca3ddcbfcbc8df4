"""The part of the plan that is about `dist/`: what is put there once it is proven, and the list of it, made last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.documents.manifest import Manifest, ManifestProduct
from pipeline.errors import Position
from pipeline.matrix.matrix import Matrix
from pipeline.steps import manifest, product

from .devices import shipped_devices
from .lockfile import Pins

DIST = "dist/"
"""What is shipped; nothing but `product` and `manifest` writes there."""


def shipped(subject: str, upstream: Mapping[str, Upstream], doc: str, where: Position | None) -> Action[product.Params]:
    """The action that puts its parts into `dist/<subject>`, once what it waits for is proven."""
    return Action(
        step="product",
        run=product.run,
        link_outputs=True,
        subject=subject,
        out=f"{DIST}{subject}",
        params=product.Params(None),
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
    proofs = {roles.proof(action.subject): Upstream(action.name) for action in actions if action.step == "verify"}
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
            **{name: Upstream(name) for name in places},
            **proofs,
            **{roles.of(roles.MEMORY, cell): Upstream(f"memory:{cell}") for cell in sorted(cells)},
        },
        outputs=(Manifest.NAME,),
        doc="size and sha256 of everything in dist/, and how it is proven",
    )
