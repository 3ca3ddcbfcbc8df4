"""From a matrix to the actions that build it: a pure function.

`session` calls `plan`; it reads no file, runs no program and knows neither doit nor the store. What each step is given
here (`params`, the roles of its inputs) is the contract written down in docs/design.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest

from .action import Action, Json, Upstream
from .errors import MatrixError
from .matrix.cells import Backend, Cell, Matrix, ModelVariant, Product

MIB = 1 << 20

COMPILE_MEMORY = 1200 * MIB
"""A first guess; a 0.6 B model's cell needs about this much. History replaces it (see `run.engine`)."""

LINKERS = {"macho": ("ld64.lld",), "elf": ("ld.lld",), "wasm": ("wasm-ld",)}

WINDOW = 4
"""How many families of cells are worked on at once; see `_interleave`."""


def plan(matrix: Matrix, lock: Mapping[str, Json], *, strict: bool = False) -> tuple[Action, ...]:
    """Return every action of the matrix, upstream before downstream.

    Args:
        matrix: what targets.yaml asks for.
        lock: model name -> entry of slipway.lock (commit and files of its weights).
        strict: a proof that could not be made (no linker) is an error.

    Raises:
        MatrixError: something is asked for that this version cannot build.
    """
    actions = [
        *_toolchains(matrix),
        *_weights(matrix, lock),
        *_params(matrix),
        *_compiles(matrix),
        *_archives(matrix),
        *_kits(matrix),
        *_bundles(matrix),
        *_verify_backends(matrix, strict=strict),
        *_verify_products(matrix, strict=strict),
    ]
    actions.append(_manifest(matrix, actions))
    return tuple(actions)


def _toolchains(matrix: Matrix) -> Iterator[Action]:
    for name in sorted({cell.toolchain for cell in matrix.cells}):
        if name != "current":
            raise MatrixError(
                f"toolchain {name!r} cannot be made by this version",
                where=matrix.cells[0].backend.where,
                cure="install its requirements into the Python that runs doit and use `current`",
            )
        yield Action(
            step="toolchain",
            subject=name,
            out=f"build/toolchain/{name}",
            params={"toolchain": name},
            tools=(f"python:{name}",),
            outputs=("probe.json",),
            memory=COMPILE_MEMORY // 2,
            doc="probe the compiler: versions, code generators, what works",
        )


def _weights(matrix: Matrix, lock: Mapping[str, Json]) -> Iterator[Action]:
    for model in {model.model: model for model in matrix.models}.values():
        if model.weights is None:
            continue
        # A file of the user's is not pinned: its digest is in the key.
        local = model.weights["kind"] == "path"
        params = {"model": model.model, "source": dict(model.weights)}
        yield Action(
            step="weights",
            subject=model.model,
            out=f"build/weights/{model.model}",
            params=params if local else {**params, "lock": lock.get(model.model)},
            files={"path": model.weights["path"]} if local else {},
            doc=f"fetch and check the weights of {model.model}",
            where=model.where,
        )


def _params(matrix: Matrix) -> Iterator[Action]:
    for model in matrix.models:
        yield Action(
            step="params",
            subject=model.subject,
            out=f"build/params/{model.subject}",
            params={
                "model": model.as_params(),
                "source": model.source.as_params(),
                "compiler": model.compiler,
                "toolchain": "current",
            },
            files={"source": model.source.path},
            upstream=_upstream(model),
            memory=COMPILE_MEMORY,
            doc=f"write the parameters of {model.subject} as a tensor cache",
            where=model.where,
        )


def _compiles(matrix: Matrix) -> Iterator[Action]:
    for cell in _interleave(matrix.cells):
        model, backend = cell.model, cell.backend
        if model.compiler != "relax":
            raise MatrixError(
                f"compiler {model.compiler!r} of model {model.model!r} is not there yet",
                where=model.where,
                cure="use `compiler: relax` (a factory, an ONNX file or an exported program)",
            )
        yield Action(
            step="compile",
            subject=cell.subject,
            out=f"build/compile/{cell.subject}",
            params={
                "model": model.as_params(),
                "source": model.source.as_params(),
                "compiler": model.compiler,
                "toolchain": cell.toolchain,
                "backend": backend.as_params(),
            },
            files={"source": model.source.path},
            upstream=_upstream(model, only=model.config),
            outputs=(f"{model.prefix}lib0.o", f"{model.prefix}devc.o", "functions.json"),
            memory=COMPILE_MEMORY,
            doc=f"compile {model.subject} for {backend.triple}",
            where=model.where,
        )


def _archives(matrix: Matrix) -> Iterator[Action]:
    for backend, cells in _by_backend(matrix):
        yield Action(
            step="archive",
            subject=backend.name,
            out=f"build/archive/{backend.name}",
            params={
                "library": matrix.name,
                "backend": backend.as_params(),
                "models": [cell.model.as_params() for cell in cells],
            },
            upstream={f"objects:{cell.model.subject}": Upstream(f"compile:{cell.subject}") for cell in cells},
            outputs=(f"lib{matrix.name}.a", "archive.json"),
            doc=f"all models of {backend.name} in one static archive",
            where=backend.where,
        )


def _kits(matrix: Matrix) -> Iterator[Action]:
    for product in matrix.products:
        backends = [_backend(matrix, name).as_params() for name in product.backends]
        archives = {f"archive:{name}": Upstream(f"archive:{name}") for name in product.backends}
        yield Action(
            step="linkkit",
            subject=product.name,
            out=f"dist/{product.name}",
            params={
                "product": product.name,
                "library": matrix.name,
                "kind": product.kind,
                "backends": backends,
                "overrides": product.templates is not None,
            },
            files={"templates": product.templates} if product.templates is not None else {},
            upstream=archives,
            outputs=("link.json",),
            doc=f"what an app needs to link {product.name}",
            where=product.where,
        )
        if product.kind == "xcframework":
            yield Action(
                step="xcframework",
                subject=product.name,
                out=f"dist/{product.name}",
                params={"product": product.name, "library": matrix.name, "backends": backends},
                upstream=archives,
                doc=f"{product.name}.xcframework and its zip",
                where=product.where,
            )


def _bundles(matrix: Matrix) -> Iterator[Action]:
    for model in matrix.models:
        upstream = {"params": Upstream(f"params:{model.subject}")}
        if model.weights is not None:
            upstream["weights"] = Upstream(f"weights:{model.model}", only=model.bundle)
        yield Action(
            step="bundle",
            subject=model.subject,
            out=f"dist/bundle/{model.subject}",
            params={"model": model.as_params(), "files": list(model.bundle)},
            upstream=upstream,
            doc=f"parameters, tokenizer and configuration of {model.subject}",
            where=model.where,
        )


def _verify_backends(matrix: Matrix, *, strict: bool) -> Iterator[Action]:
    for backend, cells in _by_backend(matrix):
        host = backend.preset == "host"
        upstream = {"archive": Upstream(f"archive:{backend.name}"), "toolchain": Upstream("toolchain:current")}
        files = {}
        if host:
            for model in (cell.model for cell in cells):
                upstream[f"params:{model.subject}"] = Upstream(f"params:{model.subject}")
                files[f"source:{model.subject}"] = model.source.path
                if model.check is not None:
                    files[f"check:{model.subject}"] = model.check.path
                if model.weights is not None:
                    upstream[f"weights:{model.subject}"] = Upstream(f"weights:{model.model}")
        yield Action(
            step="verify",
            subject=backend.name,
            out=f"build/verify/{backend.name}",
            params={
                "kind": "backend",
                "backend": backend.as_params(),
                "models": [cell.model.as_params() for cell in cells],
                "library": matrix.name,
                "strict": strict,
                "host": host,
                "checks": {c.model.subject: c.model.check.function for c in cells if c.model.check is not None},
            },
            files=files,
            upstream=upstream,
            tools=("cc",) if host else LINKERS[backend.format],
            outputs=("report.json",),
            memory=COMPILE_MEMORY // 2,
            doc=f"prove that the archive of {backend.name} links and lives",
            where=backend.where,
        )


def _verify_products(matrix: Matrix, *, strict: bool) -> Iterator[Action]:
    taken = {backend.name: backend for backend, _ in _by_backend(matrix)}
    for product in matrix.products:
        if product.name in taken:
            raise MatrixError(
                f"product {product.name!r} has the name of a backend, and both have a task verify:{product.name}",
                where=product.where,
                cure="give one of them another name",
            )
        upstream = {f"archive:{name}": Upstream(f"archive:{name}") for name in product.backends}
        upstream["kit"] = Upstream(f"linkkit:{product.name}")
        if product.kind == "xcframework":
            upstream["xcframework"] = Upstream(f"xcframework:{product.name}")
        backends = [_backend(matrix, name) for name in product.backends]
        yield Action(
            step="verify",
            subject=product.name,
            out=f"build/verify/{product.name}",
            params={
                "kind": "product",
                "product": product.name,
                "product_kind": product.kind,
                "library": matrix.name,
                "backends": [backend.as_params() for backend in backends],
                "strict": strict,
            },
            upstream=upstream,
            tools=tuple(sorted({tool for backend in backends for tool in LINKERS[backend.format]})),
            outputs=("report.json",),
            doc=f"prove that {product.name} is what was built, and links as its kit says",
            where=product.where,
        )


def _manifest(matrix: Matrix, actions: Iterable[Action]) -> Action:
    shipped = [action for action in actions if action.out.startswith("dist/")]
    return Action(
        step="manifest",
        subject="dist",
        out="dist",
        params={"products": [_product(product) for product in matrix.products]},
        upstream={action.name: Upstream(action.name) for action in shipped},
        outputs=("manifest.json",),
        doc="size and sha256 of everything in dist/",
    )


def _product(product: Product) -> Json:
    return {"name": product.name, "kind": product.kind, "backends": list(product.backends)}


def _upstream(model: ModelVariant, only: tuple[str, ...] = ()) -> dict[str, Upstream]:
    """What reading a model's source needs: the probed toolchain, and its weights or just their config files."""
    edges = {"toolchain": Upstream("toolchain:current")}
    if model.weights is not None:
        edges["config" if only else "weights"] = Upstream(f"weights:{model.model}", only=only)
    return edges


def _backend(matrix: Matrix, name: str) -> Backend:
    return next(backend for backend in matrix.backends if backend.name == name)


def _by_backend(matrix: Matrix) -> Iterator[tuple[Backend, list[Cell]]]:
    for backend in matrix.backends:
        yield backend, [cell for cell in matrix.cells if cell.backend.name == backend.name]


def _interleave(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Order cells so that neighbours do not wait for one another.

    Cells of one model variant and one device share their lowering (a *family*). Were they neighbours, a second thread
    would pick up the second cell and wait for the first to lower. So a few families advance side by side, one cell each
    in turn; a few, not all, because each keeps a process alive.
    """
    families: dict[str, list[Cell]] = {}
    for cell in cells:
        families.setdefault(f"{cell.model.subject}\0{sorted(cell.backend.device.items())}", []).append(cell)
    # Long families first: their later cells fill the gaps that the short ones leave.
    queue = sorted(families.values(), key=len, reverse=True)
    for start in range(0, len(queue), WINDOW):
        for turn in zip_longest(*queue[start : start + WINDOW]):
            yield from (cell for cell in turn if cell is not None)
