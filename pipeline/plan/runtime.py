"""The part of the plan that is about the runtime: what is built of it for each backend, and what is linked with it.

`plan` calls the functions here; as there, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.action import Action, Json, Upstream
from pipeline.matrix.cells import Backend, Matrix, ModelVariant, Product, Runtime
from pipeline.native.settings import tools
from pipeline.steps import runtime as runtime_step
from pipeline.steps import wasm, wasm_runtime

from .apps import library_file

SOURCE = "checkout:runtime"
"""The tool that stands for the checkout (see `run.native_tools`)."""

BUILD_MEMORY = 1500 << 20
"""A few C++ compilers at once, at a first guess."""


def runtime_actions(matrix: Matrix) -> Iterator[Action[Any]]:
    """The runtime of each backend that gets one, and the modules for pages."""
    if matrix.runtime is None:
        return
    for backend in matrix.backends:
        if backend.name in matrix.runtime.backends:
            yield _wasm_runtime(backend) if backend.format == "wasm" else _runtime(backend, matrix.runtime)
    yield from _modules(matrix)


def upstream_of(matrix: Matrix, backend: str) -> dict[str, Upstream]:
    """The edge to a backend's static libraries, for whoever links them; empty where there are none."""
    runtime = matrix.runtime
    if runtime is None or backend not in runtime.backends or _format(matrix, backend) == "wasm":
        return {}
    return {"runtime": Upstream(f"runtime:{backend}")}


def upstream_of_product(matrix: Matrix, product: Product) -> dict[str, Upstream]:
    """The edges to what a product brings along besides models: role `runtime:<backend>` or `wasm:<backend>`."""
    edges: dict[str, Upstream] = {}
    for name in product.backends:
        if matrix.runtime is not None and name in matrix.runtime.backends:
            step = "wasm" if _format(matrix, name) == "wasm" else "runtime"
            edges[f"{step}:{name}"] = Upstream(f"{step}:{name}")
    return edges


def _runtime(backend: Backend, runtime: Runtime) -> Action[Any]:
    archives = runtime.prebuilt.get(backend.name)
    params: dict[str, Json] = {
        "backend": _identity(backend),
        "libraries": list(runtime.libraries) if archives is None else [],
        "options": dict(runtime.options) if archives is None else {},
        "prebuilt": None if archives is None else [sha256 for _, sha256 in archives],
    }
    return Action(
        step="runtime",
        run=runtime_step.run,
        subject=backend.name,
        out=f"build/runtime/{backend.name}",
        params=params,
        files={f"prebuilt:{number}": path for number, (path, _) in enumerate(archives or ())},
        tools=(SOURCE, *tools(backend.as_params())) if archives is None else (),
        memory=BUILD_MEMORY if archives is None else 0,
        doc=f"the TVM runtime for {backend.name} as static libraries",
        where=runtime.where,
    )


def _wasm_runtime(backend: Backend) -> Action[Any]:
    return Action(
        step="wasm_runtime",
        run=wasm_runtime.run,
        subject=backend.name,
        out=f"build/wasm_runtime/{backend.name}",
        params={"backend": _identity(backend)},
        tools=(SOURCE, "emcc"),
        memory=BUILD_MEMORY,
        doc=f"the TVM runtime for {backend.name} as wasm objects",
        where=backend.where,
    )


def _identity(backend: Backend) -> dict[str, Json]:
    """A backend as far as a runtime depends on it: where its models' kernels are compiled is not part of that."""
    return {name: value for name, value in backend.as_params().items() if name != "kernels"}


def _modules(matrix: Matrix) -> Iterator[Action[Any]]:
    runtime = matrix.runtime
    for backend in matrix.backends:
        if runtime is None or backend.format != "wasm" or backend.name not in runtime.backends:
            continue
        models = [cell.model for cell in matrix.cells if cell.backend.name == backend.name]
        named = [{**model.as_params(), "file": module_file(matrix, model, backend)} for model in models]
        yield Action(
            step="wasm",
            run=wasm.run,
            subject=backend.name,
            out=f"build/wasm/{backend.name}",
            params={"backend": backend.as_params(), "models": named},
            upstream={
                "archive": Upstream(f"archive:{backend.name}"),
                "runtime": Upstream(f"wasm_runtime:{backend.name}"),
            },
            tools=("emcc",),
            outputs=(*(str(model["file"]) for model in named), "wasm.json"),
            doc=f"each model of {backend.name} as a module for pages",
            where=backend.where,
        )


def module_file(matrix: Matrix, model: ModelVariant, backend: Backend) -> str:
    """The name of a model's module: WebLLM's, with another end where it is not for WebGPU."""
    name = library_file(matrix, model)
    if backend.device["kind"] == "webgpu":
        return name
    return f"{name.removesuffix('-webgpu.wasm')}-cpu.wasm"


def _format(matrix: Matrix, backend: str) -> str:
    return next(one.format for one in matrix.backends if one.name == backend)
