"""The part of the plan that is about the runtime: what is built of it for each backend, and what is linked with it.

`plan` calls the functions here; as there, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.matrix.cells import Backend, ModelVariant, Product, Runtime
from pipeline.matrix.matrix import Matrix
from pipeline.native.settings import tools
from pipeline.steps import runtime as runtime_step
from pipeline.steps import shared_runtime, wasm, wasm_runtime

from .apps import library_file
from .models import proving_toolchain
from .wheels import wheels_of

BUILD_MEMORY = 1500 << 20
"""A few C++ compilers at once, at a first guess."""


def runtime_actions(matrix: Matrix) -> Iterator[AnyAction]:
    """The runtime of each backend that gets one, and the modules for pages."""
    if matrix.runtime is None:
        return
    for backend in matrix.backends:
        if backend.name not in matrix.runtime.backends:
            continue
        if backend.format != "wasm":
            shared = matrix.runtime.is_shared(backend)
            yield _shared_runtime(matrix, backend) if shared else _runtime(backend, matrix.runtime)
        elif backend == _built_for(matrix, backend):
            yield _wasm_runtime(matrix, backend)
    yield from _modules(matrix)


def runtime_version(matrix: Matrix, backend: Backend) -> str | None:
    """The declared release of the runtime on a backend's devices: a page and this machine have the toolchain's."""
    return None if backend.format == "wasm" or backend.is_host else matrix.runtime_version


def packaged(matrix: Matrix) -> list[Backend]:
    """The backends of other machines that get the shared runtime in TVM's package."""
    runtime = matrix.runtime
    if runtime is None:
        return []
    wanted = (one for one in matrix.backends if one.name in runtime.backends and runtime.is_shared(one))
    return [one for one in wanted if not one.is_host]


def upstream_of(matrix: Matrix, backend: str) -> dict[str, Upstream]:
    """The edge to the libraries of a backend's runtime, for whoever links them; empty where there are none."""
    runtime = matrix.runtime
    if runtime is None or backend not in runtime.backends or _format(matrix, backend) == "wasm":
        return {}
    return {roles.RUNTIME: Upstream(f"runtime:{backend}")}


def upstream_of_product(matrix: Matrix, product: Product) -> dict[str, Upstream]:
    """The edges to what a product brings along besides models: role `runtime:<backend>` or `wasm:<backend>`."""
    edges: dict[str, Upstream] = {}
    for name in product.backends:
        backend = next(one for one in matrix.backends if one.name == name)
        if matrix.runtime is not None and matrix.runtime.is_in(product, backend):
            if backend.format == "wasm":
                edges[roles.modules(name)] = Upstream(f"wasm:{name}")
            else:
                edges[roles.runtime(name)] = Upstream(f"runtime:{name}")
    return edges


def _runtime(backend: Backend, runtime: Runtime) -> AnyAction:
    archives = runtime.prebuilt.get(backend.name)
    built = archives is None
    params = runtime_step.Params(
        replace(backend, kernels=None),  # where the kernels of models are compiled changes no runtime
        runtime.libraries if built else (),
        runtime.options if built else {},
        None if archives is None else tuple(sha256 for _, sha256 in archives),
    )
    return Action(
        step="runtime",
        run=runtime_step.run,
        subject=backend.name,
        out=f"build/runtime/{backend.name}",
        params=params,
        files={roles.prebuilt(number): path for number, (path, _) in enumerate(archives or ())},
        tools=(roles.CHECKOUT, *tools(backend)) if built else (),
        memory=BUILD_MEMORY if built else 0,
        doc=f"the TVM runtime for {backend.name} as static libraries",
        where=runtime.where,
    )


def _shared_runtime(matrix: Matrix, backend: Backend) -> AnyAction:
    """The toolchain's own, or out of its package for another machine."""
    toolchain = proving_toolchain(cell for cell in matrix.cells if cell.backend.name == backend.name)
    upstream = {roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}")}
    if not backend.is_host:
        upstream |= wheels_of(backend)
    return Action(
        step="runtime",
        run=shared_runtime.run,
        subject=backend.name,
        out=f"build/runtime/{backend.name}",
        params=shared_runtime.Params(replace(backend, kernels=None), toolchain, own=backend.is_host),
        upstream=upstream,
        doc=f"the TVM runtime for {backend.name} as shared libraries, and its headers",
        where=matrix.runtime.where if matrix.runtime is not None else None,
        link_outputs=True,
    )


def _wheel(matrix: Matrix, backend: Backend) -> str | None:
    """The toolchain whose package has the runtime of a wasm backend; None for a checkout."""
    if matrix.runtime is None or not matrix.runtime.wheel:
        return None
    return proving_toolchain(cell for cell in matrix.cells if cell.backend.name == backend.name)


def _built_for(matrix: Matrix, backend: Backend) -> Backend:
    """The first wasm backend that has the same runtime: it is compiled once, and takes a minute."""
    names = () if matrix.runtime is None else matrix.runtime.backends
    all_ = (one for one in matrix.backends if one.format == "wasm" and one.name in names)
    return next(one for one in all_ if _wheel(matrix, one) == _wheel(matrix, backend))


def _wasm_runtime(matrix: Matrix, backend: Backend) -> AnyAction:
    wheel = _wheel(matrix, backend)
    return Action(
        step="wasm_runtime",
        run=wasm_runtime.run,
        subject=backend.name,
        out=f"build/wasm_runtime/{backend.name}",
        params=wasm_runtime.Params(wheel=wheel),
        upstream={} if wheel is None else {roles.TOOLCHAIN: Upstream(f"toolchain:{wheel}")},
        tools=("emcc",) if wheel is not None else (roles.CHECKOUT, "emcc"),
        memory=BUILD_MEMORY,
        doc="the TVM runtime as wasm objects",
        where=backend.where,
    )


def _modules(matrix: Matrix) -> Iterator[AnyAction]:
    runtime = matrix.runtime
    for backend in matrix.backends:
        if runtime is None or backend.format != "wasm" or backend.name not in runtime.backends:
            continue
        models = [cell.model for cell in matrix.cells if cell.backend.name == backend.name]
        files = {model.subject: module_file(matrix, model, backend) for model in models}
        yield Action(
            step="wasm",
            run=wasm.run,
            subject=backend.name,
            out=f"build/wasm/{backend.name}",
            params=wasm.Params(backend, files),
            upstream={
                roles.ARCHIVE: Upstream(f"archive:{backend.name}"),
                roles.RUNTIME: Upstream(f"wasm_runtime:{_built_for(matrix, backend).name}"),
            },
            tools=("emcc",),
            # From a package there are none where emscripten is missing.
            outputs=("wasm.json",) if runtime.wheel else (*files.values(), "wasm.json"),
            doc=f"each model of {backend.name} as a module for pages",
            where=backend.where,
        )


def module_file(matrix: Matrix, model: ModelVariant, backend: Backend) -> str:
    """The name of a model's module: WebLLM's, with another end where it is not for WebGPU."""
    name = library_file(matrix, model)
    if backend.device_kind == "webgpu":
        return name
    return f"{name.removesuffix('-webgpu.wasm')}-cpu.wasm"


def _format(matrix: Matrix, backend: str) -> str:
    return next(one.format for one in matrix.backends if one.name == backend)
