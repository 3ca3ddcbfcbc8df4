"""From a matrix to the actions that build it: a pure function.

`session` calls `plan`; it reads no file, runs no program and knows neither doit nor the store. What each step is given
here (`params`, the roles of its inputs) is the contract written down in docs/design.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline import roles
from pipeline.action import Action, AnyAction, Json, Upstream
from pipeline.documents.manifest import ManifestProduct
from pipeline.documents.parameters import NAME as PARAMETERS
from pipeline.errors import MatrixError
from pipeline.matrix.cells import Backend, Matrix, ModelVariant
from pipeline.steps import archive, bundle, linkkit, manifest, verify, xcframework

from .apps import app_config_actions, ships_weights
from .checks import check_actions, is_checked, lacking_artifact, subject_of_check
from .models import (
    COMPILE_MEMORY,
    SHARDS,
    by_backend,
    compile_actions,
    conversion,
    parameter_actions,
    proving_toolchain,
    toolchain_actions,
    weight_actions,
)
from .runtime import runtime_actions, upstream_of, upstream_of_product

DIST = "dist/"

LINKERS = {"macho": ("ld64.lld",), "elf": ("ld.lld",), "wasm": ("wasm-ld",)}


def plan(
    matrix: Matrix,
    lock: Mapping[str, Json],
    *,
    frozen: Mapping[str, Sequence[str] | None] | None = None,
) -> tuple[AnyAction, ...]:
    """Return every action of the matrix, upstream before downstream.

    Args:
        matrix: what targets.yaml asks for.
        lock: model name -> entry of slipway.lock (commit and files of its weights).
        frozen: toolchain name -> the exact requirements that slipway.lock pins for it on this platform.

    Raises:
        MatrixError: something is asked for that this version cannot build.
    """
    actions = [
        *toolchain_actions(matrix, frozen or {}),
        *weight_actions(matrix, lock),
        *parameter_actions(matrix),
        *compile_actions(matrix),
        *_archives(matrix),
        *runtime_actions(matrix),
        *_kits(matrix),
        *_bundles(matrix),
        *app_config_actions(matrix),
        *check_actions(matrix, lock),
        *_verify_backends(matrix),
        *_verify_products(matrix),
    ]
    actions.append(_manifest(matrix, actions))
    return tuple(actions)


def _archives(matrix: Matrix) -> Iterator[AnyAction]:
    for backend, cells in by_backend(matrix):
        yield Action(
            step="archive",
            run=archive.run,
            subject=backend.name,
            out=f"build/archive/{backend.name}",
            params=archive.Params(matrix.name, backend, tuple(cell.model.ref() for cell in cells)),
            upstream={roles.objects(cell.model.subject): Upstream(f"compile:{cell.subject}") for cell in cells},
            outputs=(f"lib{matrix.name}.a", "archive.json"),
            doc=f"all models of {backend.name} in one static archive",
            where=backend.where,
        )


def _kits(matrix: Matrix) -> Iterator[AnyAction]:
    for product in matrix.products:
        backends = tuple(_backend(matrix, name) for name in product.backends)
        archives = {roles.archive(name): Upstream(f"archive:{name}") for name in product.backends}
        archives |= upstream_of_product(matrix, product)
        of_xcframework = product.kind == "xcframework"
        framework = {roles.XCFRAMEWORK: Upstream(f"xcframework:{product.name}")} if of_xcframework else {}
        if of_xcframework:
            yield Action(
                step="xcframework",
                run=xcframework.run,
                subject=product.name,
                out=f"dist/{product.name}",
                params=xcframework.Params(product.name, matrix.name, backends),
                upstream=archives,
                shares_out=True,
                proven_by=f"verify:{product.name}",
                doc=f"{product.name}.xcframework and its zip",
                where=product.where,
            )
        yield Action(
            step="linkkit",
            run=linkkit.run,
            subject=product.name,
            out=f"dist/{product.name}",
            params=linkkit.Params(product.name, matrix.name, product.kind, backends, product.templates is not None),
            files={roles.TEMPLATES: product.templates} if product.templates is not None else {},
            upstream={**archives, **framework},
            shares_out=True,
            proven_by=f"verify:{product.name}",
            outputs=("link.json",),
            doc=f"what an app needs to link {product.name}",
            where=product.where,
        )


def _bundles(matrix: Matrix) -> Iterator[AnyAction]:
    for model in matrix.models:
        files, upstream = _bundled(matrix, model)
        if not upstream:  # objects that somebody else compiled, without weights
            continue
        yield Action(
            step="bundle",
            run=bundle.run,
            link_outputs=True,
            subject=model.subject,
            out=f"dist/bundle/{model.subject}",
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
    for backend, cells in by_backend(matrix):
        toolchain = proving_toolchain(cells)
        upstream = {
            roles.ARCHIVE: Upstream(f"archive:{backend.name}"),
            roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}"),
            **upstream_of(matrix, backend.name),
        }
        for model in (cell.model for cell in cells):
            if model.compiler == "relax":
                upstream[roles.of(roles.PARAMS, model.subject)] = Upstream(
                    f"params:{model.subject}", only=(PARAMETERS,)
                )
        checked = {subject_of_check(cell): cell for cell in cells if is_checked(matrix, cell)}
        upstream |= {roles.check(cell.model.subject): Upstream(f"check:{name}") for name, cell in checked.items()}
        yield Action(
            step="verify",
            run=verify.run_backend,
            subject=backend.name,
            out=f"build/verify/{backend.name}",
            params=verify.BackendProof(
                backend,
                tuple(cell.model.ref() for cell in cells),
                matrix.name,
                toolchain,
                host=backend.is_host,
                artifact=lacking_artifact(matrix, backend),
            ),
            upstream=upstream,
            tools=("cc",) if backend.is_host else LINKERS[backend.format],
            outputs=("report.json",),
            memory=COMPILE_MEMORY // 2,
            doc=f"prove that the archive of {backend.name} links and lives",
            where=backend.where,
        )


def _verify_products(matrix: Matrix) -> Iterator[AnyAction]:
    taken = {backend.name: backend for backend, _ in by_backend(matrix)}
    for product in matrix.products:
        if product.name in taken:
            raise MatrixError(
                f"product {product.name!r} has the name of a backend, and both have a task verify:{product.name}",
                where=product.where,
                hint="give one of them another name",
            )
        upstream = {roles.archive(name): Upstream(f"archive:{name}") for name in product.backends}
        upstream[roles.KIT] = Upstream(f"linkkit:{product.name}")
        if product.kind == "xcframework":
            upstream[roles.XCFRAMEWORK] = Upstream(f"xcframework:{product.name}")
        backends = [_backend(matrix, name) for name in product.backends]
        yield Action(
            step="verify",
            run=verify.run_product,
            subject=product.name,
            out=f"build/verify/{product.name}",
            params=verify.ProductProof(product.name, product.kind, matrix.name, tuple(backends)),
            upstream=upstream,
            tools=tuple(sorted({tool for backend in backends for tool in LINKERS[backend.format]})),
            outputs=("report.json",),
            doc=f"prove that {product.name} is what was built, and links as its kit says",
            where=product.where,
        )


def _manifest(matrix: Matrix, actions: Iterable[AnyAction]) -> AnyAction:
    shipped = {action.name: action for action in actions if action.out.startswith(DIST)}
    proofs = {roles.proof(action.subject): Upstream(action.name) for action in actions if action.step == "verify"}
    return Action(
        step="manifest",
        run=manifest.run,
        subject="dist",
        out="dist",
        params=manifest.Params(
            tuple(ManifestProduct(one.name, one.kind, one.backends) for one in matrix.products),
            {name: f"{action.out.removeprefix(DIST)}/" for name, action in shipped.items()},
        ),
        upstream={name: Upstream(name) for name in shipped} | proofs,
        shares_out=True,
        outputs=("manifest.json",),
        doc="size and sha256 of everything in dist/, and how it is proven",
    )


def _backend(matrix: Matrix, name: str) -> Backend:
    return next(backend for backend in matrix.backends if backend.name == name)
