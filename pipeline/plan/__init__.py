"""From a matrix to the actions that build it: a pure function, which reads no file and runs no program.

`Project.plan` calls it. Beside it are `lockfile`, which reads and writes `slipway.lock`, and `library_names`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.documents.manifest import Manifest, ManifestProduct
from pipeline.documents.parameters import INDEX, Parameters
from pipeline.matrix.cells import ModelVariant, Product
from pipeline.matrix.matrix import Matrix
from pipeline.steps import archive, bundle, linkkit, verify, xcframework
from pipeline.steps import product as product_step

from .apps import app_config_actions, ships_weights
from .checks import FOREIGN, cell_runs, check_actions, lacking_artifact, program_runs
from .custom import custom_actions, in_order, proven_layouts, shipped_steps
from .devices import device_actions, device_edges
from .lockfile import Pins
from .models import (
    COMPILE_MEMORY,
    SHARDS,
    by_role,
    compile_actions,
    conversion,
    model_file_actions,
    parameter_actions,
    prebuilt_actions,
    proving_toolchain,
    toolchain_actions,
    weight_actions,
)
from .products import aar_actions, assets_of, layout_actions, manifest_action, proof_of, shipped
from .runtime import packaged, runtime_actions, runtime_version, upstream_of, upstream_of_product, wheel_actions

PARTS = frozenset({"xcframework", "linkkit", "app_config", "layout", "aar"})
"""The steps that make parts of a product."""

LINKERS = {"macho": ("ld64.lld",), "elf": ("ld.lld",), "wasm": ("wasm-ld",), "coff": ("lld-link",)}


def plan(
    matrix: Matrix,
    lock: Pins,
    *,
    frozen: Mapping[str, Sequence[str] | None] | None = None,
) -> tuple[AnyAction, ...]:
    """Return every action of the matrix, upstream before downstream.

    `lock` is what slipway.lock pins of weights; `frozen` has the exact requirements that it pins for each toolchain on
    this platform.

    Raises:
        MatrixError: something is asked for that this version cannot build.
    """
    bundles = tuple(_bundles(matrix))
    having = tuple(action.subject for action in bundles)
    actions = [
        *toolchain_actions(matrix, frozen or {}),
        *weight_actions(matrix, lock),
        *prebuilt_actions(matrix, lock),
        *model_file_actions(matrix, lock),
        *parameter_actions(matrix),
        *compile_actions(matrix),
        *device_actions(matrix, lock),
        *_archives(matrix),
        *_wheels(matrix, lock),
        *runtime_actions(matrix),
        *_kits(matrix),
        *bundles,
        *layout_actions(matrix, having),
        *aar_actions(matrix, having),
        *app_config_actions(matrix, lock),
        *check_actions(matrix),
        *_verify_backends(matrix),
        *_verify_products(matrix, having),
    ]
    published = [*_products(matrix, actions), *_shipped_bundles(matrix, actions)]
    custom = custom_actions(matrix, [*actions, *published])
    published = list(proven_layouts(matrix, [*actions, *published, *custom], published))
    of_steps = list(shipped_steps(matrix, [*actions, *published, *custom]))
    listed = manifest_action(matrix, lock, actions, [*published, *of_steps])
    return in_order(matrix, [*actions, *published, *custom, *of_steps, listed])


def _wheels(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """TVM's package for other machines: whose runtime is shipped, or whose models are run here."""
    runs = [(cell.backend, name) for cell in matrix.cells for name in cell_runs(matrix, cell).values()]
    ran = [(backend, FOREIGN[name]) for backend, name in runs if name in FOREIGN]
    return wheel_actions(matrix, lock, shipped=packaged(matrix), ran=ran)


def _archives(matrix: Matrix) -> Iterator[AnyAction]:
    for backend in matrix.backends:
        cells = matrix.cells_for(backend)
        yield Action(
            step="archive",
            run=archive.run,
            subject=backend.name,
            params=archive.Params(
                matrix.name, backend, tuple(cell.model.ref() for cell in cells), runtime_version(matrix, backend)
            ),
            upstream={roles.objects(cell.model.subject): Upstream(f"compile:{cell.subject}") for cell in cells},
            outputs=(f"lib{matrix.name}.a", "archive.json"),
            doc=f"all models of {backend.name} in one static archive",
            where=backend.where,
        )


def _kits(matrix: Matrix) -> Iterator[AnyAction]:
    for product in matrix.products:
        if product.kind == "layout":
            continue
        backends = matrix.backends_of(product)
        archives = by_role(map(roles.archive, product.backends)) | upstream_of_product(matrix, product)
        of_xcframework = product.kind == "xcframework"
        framework = {roles.XCFRAMEWORK: Upstream(f"xcframework:{product.name}")} if of_xcframework else {}
        if of_xcframework:
            yield Action(
                step="xcframework",
                run=xcframework.run,
                subject=product.name,
                params=xcframework.Params(product.name, matrix.name, backends),
                upstream=archives,
                doc=f"{product.name}.xcframework and its zip",
                where=product.where,
            )
        yield Action(
            step="linkkit",
            run=linkkit.run,
            subject=product.name,
            params=linkkit.Params(product.name, matrix.name, product.kind, backends, product.templates is not None),
            files={roles.TEMPLATES: product.templates} if product.templates is not None else {},
            upstream={**archives, **framework},
            outputs=("link.json",),
            doc=f"what an app needs to link {product.name}",
            where=product.where,
        )


def _bundles(matrix: Matrix) -> Iterator[AnyAction]:
    for model in matrix.models:
        if not model.has_bundle:
            continue
        files, upstream = _bundled(matrix, model)
        yield Action(
            step="bundle",
            run=bundle.run,
            link_outputs=True,
            subject=model.subject,
            params=bundle.Params(model.ref(), tuple(files), shipped=ships_weights(model)),
            upstream=upstream,
            doc=f"parameters, tokenizer and configuration of {model.subject}",
            where=model.where,
        )


def _bundled(matrix: Matrix, model: ModelVariant) -> tuple[tuple[str, ...], dict[str, Upstream]]:
    """Which files of its weights a model's bundle takes, and where its parts come from."""
    if model.is_raw:
        return (*model.bundle, "*.json"), {
            roles.PARAMS: Upstream(conversion(matrix, model, "convert_weight")),
            roles.WEIGHTS: Upstream(conversion(matrix, model, "gen_config")),
        }
    if model.compiler == "relax":
        upstream, files = {roles.PARAMS: Upstream(f"params:{model.subject}", only=SHARDS)}, model.bundle
    else:
        upstream, files = {}, (*model.bundle, *SHARDS)
    if model.weights is not None:
        # Which files a tokenizer has, only the config knows; see `weights.checkpoint`.
        only = () if model.compiler == "mlc" else files
        upstream[roles.WEIGHTS] = Upstream(f"weights:{model.model}", only=only)
    return files, upstream


def _verify_backends(matrix: Matrix) -> Iterator[AnyAction]:
    for backend in matrix.backends:
        cells = matrix.cells_for(backend)
        toolchain = proving_toolchain(cells)
        upstream = {
            roles.ARCHIVE: Upstream(f"archive:{backend.name}"),
            roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}"),
            **upstream_of(matrix, backend),
        }
        sharing = [cell for cell in matrix.sharing if cell.backend.name == backend.name]
        for model in (cell.model for cell in (*cells, *sharing)):
            if (parameters := _parameter_names(matrix, model)) is not None:
                upstream[roles.of(roles.PARAMS, model.subject)] = parameters
        upstream |= by_role(roles.check(subject) for cell in cells for subject in cell_runs(matrix, cell))
        yield Action(
            step="verify",
            run=verify.run_backend,
            subject=backend.name,
            params=verify.BackendProof(
                backend,
                tuple(cell.model.ref() for cell in cells),
                matrix.name,
                toolchain,
                host=backend.is_host,
                artifact=lacking_artifact(matrix, backend),
                runtime_version=runtime_version(matrix, backend),
                sharing={cell.model.subject: matrix.library_of(cell).model.subject for cell in sharing},
            ),
            upstream=upstream,
            tools=("cc",) if backend.is_host else LINKERS[backend.format],
            outputs=("report.json",),
            memory=COMPILE_MEMORY // 2,
            doc=f"prove that the archive of {backend.name} links and lives",
            where=backend.where,
        )


def _parameter_names(matrix: Matrix, model: ModelVariant) -> Upstream | None:
    """Where names, shapes and dtypes of a model's parameters are found, without their values."""
    if model.compiler == "relax":
        return Upstream(f"params:{model.subject}", only=(Parameters.NAME,))
    if model.is_raw:
        return Upstream(conversion(matrix, model, "convert_weight"), only=(INDEX,))
    return None if model.weights is None else Upstream(f"weights:{model.model}", only=(INDEX,))


def _verify_products(matrix: Matrix, bundles: Sequence[str]) -> Iterator[AnyAction]:
    for product in matrix.products:
        if product.kind == "layout":
            yield proof_of(matrix, product, bundles)
            continue
        upstream = by_role(map(roles.archive, product.backends))
        upstream[roles.KIT] = Upstream(f"linkkit:{product.name}")
        if product.kind == "xcframework":
            upstream[roles.XCFRAMEWORK] = Upstream(f"xcframework:{product.name}")
        if product.maven is not None:
            upstream |= {roles.AAR: Upstream(f"aar:{product.name}"), **assets_of(matrix, product, bundles)}
        upstream |= by_role(map(roles.check, program_runs(matrix, product)))
        backends = matrix.backends_of(product)
        yield Action(
            step="verify",
            run=verify.run_product,
            subject=product.name,
            params=verify.ProductProof(
                product.name, product.kind, matrix.name, backends, product.maven, product.runtime_libraries
            ),
            upstream=upstream,
            tools=tuple(sorted({tool for backend in backends for tool in LINKERS[backend.format]})),
            outputs=("report.json",),
            doc=f"prove that {product.name} is what was built, and links as its kit says",
            where=product.where,
        )


def _products(matrix: Matrix, actions: Iterable[AnyAction]) -> Iterator[AnyAction]:
    """What is shipped of each product: its parts, once they and the archives in them are proven."""
    for one in matrix.products:
        made = [action for action in actions if action.step in PARTS and action.subject == one.name]
        upstream = _shipping(made, (one.name, *one.backends)) | _runs(matrix, one) | device_edges(matrix, one)
        yield replace(
            shipped(one.name, upstream, f"{one.name} as it is shipped, once it is proven", one.where),
            params=product_step.Params(ManifestProduct(one.name, one.kind, one.backends)),
            outputs=("link.json", Manifest.NAME),
            link_outputs=any(action.link_outputs for action in made),
            proven_by=f"verify:{one.name}",
        )


def _shipped_bundles(matrix: Matrix, actions: Iterable[AnyAction]) -> Iterator[AnyAction]:
    """Each model's bundle, once every archive is proven that holds its library."""
    holding: dict[str, list[str]] = {}
    for cell in matrix.every_cell:
        holding.setdefault(cell.model.subject, []).append(cell.backend.name)
    for made in actions:
        if made.step == "bundle":
            upstream = _shipping([made], holding.get(made.subject, ()))
            yield shipped(f"bundle/{made.subject}", upstream, f"{made.doc}, once the model is proven", made.where)


def _runs(matrix: Matrix, product: Product) -> dict[str, Upstream]:
    """Everything that runs a model of a product: its cells, and programs built from its kit."""
    cells = (cell_runs(matrix, one) for one in matrix.cells if one.backend.name in product.backends)
    subjects = [*(subject for runs in cells for subject in runs), *program_runs(matrix, product)]
    return by_role(map(roles.check, subjects))


def _shipping(made: Iterable[AnyAction], proven: Iterable[str]) -> dict[str, Upstream]:
    parts = {roles.part(action.name): Upstream(action.name) for action in made}
    return parts | by_role(map(roles.proof, proven))
