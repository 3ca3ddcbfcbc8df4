"""The part of the plan that is about the runtime: what is built of it for each backend, and what is linked with it.

That of another machine, to run models there or to ship it, is in TVM's package for that one, which is fetched.

`plan` calls the functions here; as there, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.matrix.cells import Backend, ModelVariant, Product, Runtime
from pipeline.matrix.matrix import Matrix
from pipeline.native.settings import tools
from pipeline.native.wheel import PACKAGES
from pipeline.steps import runtime as runtime_step
from pipeline.steps import shared_runtime, wasm, wasm_runtime, wheel

from .apps import library_file
from .lockfile import Pins
from .models import by_role, proving_toolchain

BUILD_MEMORY = 1500 << 20
"""A few C++ compilers at once, at a first guess."""


def runtime_actions(matrix: Matrix) -> Iterator[AnyAction]:
    """The runtime of each backend that gets one, and the modules for pages."""
    backends = _having(matrix)
    for backend in backends:
        if backend.format != "wasm":
            shared = matrix.runtime.is_shared(backend)
            yield _shared_runtime(matrix, backend) if shared else _runtime(backend, matrix.runtime)
        elif backend == _built_for(matrix, backend):
            yield _wasm_runtime(matrix, backend)
    yield from (_modules(matrix, backend) for backend in backends if backend.format == "wasm")


def _having(matrix: Matrix) -> list[Backend]:
    """The backends that get a runtime."""
    return [one for one in matrix.backends if one.name in matrix.runtime.backends]


def runtime_version(matrix: Matrix, backend: Backend) -> str | None:
    """The declared release of the runtime on a backend's devices: a page and this machine have the toolchain's."""
    return None if backend.format == "wasm" or backend.is_host else matrix.runtime_version


def packaged(matrix: Matrix) -> list[Backend]:
    """The backends of other machines that get the shared runtime in TVM's package."""
    return [one for one in _having(matrix) if matrix.runtime.is_shared(one) and not one.is_host]


def upstream_of(matrix: Matrix, backend: Backend) -> dict[str, Upstream]:
    """The edge to the libraries of a backend's runtime, for whoever links them; empty where there are none."""
    if backend not in _having(matrix) or backend.format == "wasm":
        return {}
    return {roles.RUNTIME: Upstream(f"runtime:{backend.name}")}


def upstream_of_product(matrix: Matrix, product: Product) -> dict[str, Upstream]:
    """The edges to what a product brings along besides models: role `runtime:<backend>` or `wasm:<backend>`."""
    brought = [one for one in matrix.backends_of(product) if matrix.runtime.is_in(product, one)]
    return by_role((roles.modules if one.format == "wasm" else roles.runtime)(one.name) for one in brought)


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
        params=params,
        files={roles.prebuilt(number): path for number, (path, _) in enumerate(archives or ())},
        tools=(roles.CHECKOUT, *tools(backend)) if built else (),
        memory=BUILD_MEMORY if built else 0,
        doc=f"the TVM runtime for {backend.name} as static libraries",
        where=runtime.where,
    )


def _shared_runtime(matrix: Matrix, backend: Backend) -> AnyAction:
    """The toolchain's own, or out of its package for another machine."""
    toolchain = proving_toolchain(matrix.cells_for(backend))
    upstream = {roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}")}
    if not backend.is_host:
        upstream |= wheels_of(backend)
    return Action(
        step="runtime",
        run=shared_runtime.run,
        subject=backend.name,
        params=shared_runtime.Params(replace(backend, kernels=None), toolchain, own=backend.is_host),
        upstream=upstream,
        doc=f"the TVM runtime for {backend.name} as shared libraries, and its headers",
        where=matrix.runtime.where,
        link_outputs=True,
    )


def _wheel(matrix: Matrix, backend: Backend) -> str | None:
    """The toolchain whose package has the runtime of a wasm backend; None for a checkout."""
    return proving_toolchain(matrix.cells_for(backend)) if matrix.runtime.wheel else None


def _built_for(matrix: Matrix, backend: Backend) -> Backend:
    """The first wasm backend that has the same runtime: it is compiled once, and takes a minute."""
    every = (one for one in _having(matrix) if one.format == "wasm")
    return next(one for one in every if _wheel(matrix, one) == _wheel(matrix, backend))


def _wasm_runtime(matrix: Matrix, backend: Backend) -> AnyAction:
    toolchain = _wheel(matrix, backend)
    return Action(
        step="wasm_runtime",
        run=wasm_runtime.run,
        subject=backend.name,
        params=wasm_runtime.Params(wheel=toolchain),
        upstream={} if toolchain is None else {roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}")},
        tools=("emcc",) if toolchain is not None else (roles.CHECKOUT, "emcc"),
        memory=BUILD_MEMORY,
        doc="the TVM runtime as wasm objects",
        intermediate=True,
        where=backend.where,
    )


def _modules(matrix: Matrix, backend: Backend) -> AnyAction:
    models = [cell.model for cell in matrix.cells_for(backend)]
    files = {model.subject: module_file(matrix, model, backend) for model in models}
    return Action(
        step="wasm",
        run=wasm.run,
        subject=backend.name,
        params=wasm.Params(backend, files),
        upstream={
            roles.ARCHIVE: Upstream(f"archive:{backend.name}"),
            roles.RUNTIME: Upstream(f"wasm_runtime:{_built_for(matrix, backend).name}"),
        },
        tools=("emcc",),
        # From a package there are none where emscripten is missing.
        outputs=("wasm.json",) if matrix.runtime.wheel else (*files.values(), "wasm.json"),
        doc=f"each model of {backend.name} as a module for pages",
        where=backend.where,
    )


def module_file(matrix: Matrix, model: ModelVariant, backend: Backend) -> str:
    """The name of a model's module: WebLLM's, with another end where it is not for WebGPU."""
    name = library_file(matrix, model)
    if backend.device_kind == "webgpu":
        return name
    return f"{name.removesuffix('-webgpu.wasm')}-cpu.wasm"


def wheel_name(package: str, backend: Backend) -> str:
    """The name of an action that fetches a package for a backend's machine, and of its entry in slipway.lock."""
    return f"{package}@{wheel.platform_of(backend)}"


def wheels_of(backend: Backend) -> dict[str, Upstream]:
    """The edges to the packages for a backend's machine."""
    return {roles.of(roles.WHEEL, one): Upstream(f"wheel:{wheel_name(one, backend)}") for one in PACKAGES}


def wheel_actions(
    matrix: Matrix, lock: Pins, shipped: Iterable[Backend], ran: Iterable[tuple[Backend, tuple[str, ...]]]
) -> Iterator[AnyAction]:
    """Each package once for each kind of machine: for backends whose products bring the runtime along, and for others.

    Those others, `ran`, are only run with it, and have the tools for that: without one nothing is fetched.
    """
    needed: dict[str, tuple[Backend, tuple[str, ...]]] = {wheel.platform_of(one): (one, tools) for one, tools in ran}
    needed |= {wheel.platform_of(one): (one, ()) for one in shipped}
    for platform, (backend, asked) in needed.items():
        toolchain = proving_toolchain(matrix.cells_for(backend))
        for package in PACKAGES:
            name = wheel_name(package, backend)
            yield Action(
                step="wheel",
                run=wheel.run,
                subject=name,
                params=wheel.Params(package, platform, toolchain, lock.get(name)),
                upstream={roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}")},
                tools=asked,
                doc=f"the runtime in {package} for {platform}",
                where=backend.where,
                link_outputs=True,
                intermediate=True,
            )
