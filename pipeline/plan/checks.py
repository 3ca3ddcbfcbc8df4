"""The part of the plan that is about running: which cells' checks are run here, by which runner, on which artifact.

`plan` calls the functions here; as there, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from pipeline import roles
from pipeline.action import Action, AnyAction, Run, Upstream
from pipeline.matrix.cells import Backend, Cell, Product
from pipeline.matrix.matrix import Matrix
from pipeline.matrix.source import files_of
from pipeline.runners import host, native, node, qemu, twin, wine
from pipeline.runners.check import Params

from .models import COMPILE_MEMORY, SHARDS, compile_actions, proving_toolchain
from .runtime import module_file, wheels_of


class _How(NamedTuple):
    """A runner as the plan sees it: its step, and the tools that are in its key."""

    run: Run[Params]
    tools: tuple[str, ...]


QEMU = ("qemu-aarch64", "aarch64-c++")
FOREIGN: Mapping[str, tuple[str, ...]] = {"qemu": QEMU, "wine": ("wine", "mingw-c++")}
"""Runner for another machine, whose runtime comes out of TVM's package for that one -> the tools that it takes."""
RUNNERS = {
    "browser": _How(node.run_browser, ("node", "npm", "chromium")),
    "host": _How(host.run, ("cc",)),
    "node": _How(node.run, ("node", "npm")),
    "qemu": _How(qemu.run, QEMU),
    "twin": _How(twin.run, ("c++", "opencl", roles.TVM_CHECKOUT)),
    "webgpu": _How(node.run_webgpu, ("node", "npm", "vulkan")),
    "wine": _How(wine.run, FOREIGN["wine"]),
}
PROGRAMS = {
    "host": {"cpp": _How(native.run_cpp, ("cmake", "c++")), "rust": _How(native.run_rust, ("cargo", "c++"))},
    "qemu": {"cpp": _How(native.run_cpp, ("cmake", *QEMU))},
}
"""Runner of a backend -> language -> what runs its models in a program built from a product's kit."""


def cell_runs(matrix: Matrix, cell: Cell) -> dict[str, str]:
    """Subject of the action -> runner, of the runs of a cell's check. Beside the first, each has its runner's name."""
    backend = cell.backend
    if not _has_check(cell) or lacking_artifact(matrix, backend) is not None:
        return {}
    twins = matrix.twins if cell.model.compiler == "relax" else None  # no other leaves a lowering to make a twin of
    able = [name for name in backend.runners if name != "twin" or (twins is not None and twins.run(backend))]
    return {f"{cell.subject}/{name}" if number else cell.subject: name for number, name in enumerate(able)}


def _has_check(cell: Cell) -> bool:
    return cell.model.check is not None or _reference(cell) is not None


def _reference(cell: Cell) -> str | None:
    """The kind of a model's file, where that itself says what the model computes and no check is named."""
    kind = cell.model.source.kind
    return kind if cell.model.check is None and kind in {"onnx", "exported"} else None


def lacking_artifact(matrix: Matrix, backend: Backend) -> str | None:
    """What there is nothing of to run, and what to say in targets.yaml, or by a variable, for there to be something."""
    if matrix.twins is not None and matrix.twins.lacks_checkout(backend):
        return f"no {backend.platform} {backend.arch} here; kernels alone: {twin.CHECKOUT}"
    if backend.format != "wasm" or backend.name in matrix.runtime.backends:
        return None
    return "no module: name a `runtime`"


def check_actions(matrix: Matrix) -> Iterator[AnyAction]:
    """The runs of each cell that has a check and a backend that something here can run; more for native products."""
    yield from _twins(matrix)
    for cell in matrix.cells:
        for subject, name in cell_runs(matrix, cell).items():
            yield _check(matrix, cell, subject, name)
    for product in matrix.products:
        for cell in matrix.cells:
            for language, how in programs(matrix, product, cell).items():
                yield _in_program(matrix, product, cell, language, how)


def programs(matrix: Matrix, product: Product, cell: Cell) -> Mapping[str, _How]:
    """The languages in which a program is built from a product's kit, to run a cell's check in it; by which runner.

    One for 64-bit ARM is linked with the runtime in the kit. Without one, the archive itself is what is run.
    """
    backend = cell.backend
    if backend.name not in product.backends or not (backend.is_host or matrix.runtime.is_in(product, backend)):
        return {}
    known = {key: how for name in cell_runs(matrix, cell).values() for key, how in PROGRAMS.get(name, {}).items()}
    return {language: how for language, how in known.items() if language in product.programs}


def device_runs(matrix: Matrix) -> Iterator[AnyAction]:
    """Checks in programs for devices behind adb. They are in no plan: a device comes and goes, and `doit bench` asks.

    A kit brings the runtime; for this machine's own kind of system the toolchain has one.
    """
    for product in matrix.products:
        for cell in matrix.cells:
            backend = cell.backend
            brought = matrix.runtime.is_in(product, backend)
            if not _has_check(cell) or backend.name not in product.backends or not (brought or backend.is_host):
                continue
            on_linux = ("c++",) if backend.is_host else QEMU
            tools = {"android": ("ndk",), "linux": on_linux}.get(backend.platform)
            if tools is not None:
                yield _in_program(matrix, product, cell, "adb", _How(native.run_cpp, ("cmake", *tools)))


def program_runs(matrix: Matrix, product: Product) -> list[str]:
    """Subjects of the runs in programs that are built from a product's kit."""
    return [_subject(product, cell, one) for cell in matrix.cells for one in programs(matrix, product, cell)]


def _subject(product: Product, cell: Cell, language: str) -> str:
    return f"{product.name}/{cell.subject}/{language}"


def _check(matrix: Matrix, cell: Cell, subject: str, name: str) -> Action[Params]:
    model, backend, check = cell.model, cell.backend, cell.model.check
    toolchain = proving_toolchain(matrix.cells_for(backend))
    upstream = {
        roles.ARCHIVE: Upstream(f"archive:{backend.name}"),
        roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}"),
    }
    module = module_file(matrix, model, backend) if backend.format == "wasm" else None
    if module is not None:
        upstream[roles.MODULES] = Upstream(f"wasm:{backend.name}", only=(module,))
    if name in FOREIGN:
        upstream |= wheels_of(backend)
    if name == "twin":
        upstream[roles.objects(model.subject)] = Upstream(f"twin:{cell.subject}")
    if model.compiler == "relax":
        upstream[roles.PARAMS] = Upstream(f"params:{model.subject}", only=SHARDS)
    if model.weights is not None:
        upstream[roles.WEIGHTS] = Upstream(f"weights:{model.model}")
    return Action(
        step="check",
        run=RUNNERS[name].run,
        subject=subject,
        params=Params(
            model.ref(),
            backend,
            matrix.name,
            None if check is None else check.function,
            toolchain,
            module,
            _reference(cell),
        ),
        files=files_of(roles.CHECK, check or model.source),
        upstream=upstream,
        tools=RUNNERS[name].tools,
        outputs=("run.json",),
        memory=COMPILE_MEMORY // 2,
        travels=True,
        doc=f"run {model.subject} on {name}, and compare its numbers",
        where=backend.where,
    )


def _in_program(matrix: Matrix, product: Product, cell: Cell, language: str, how: _How) -> Action[Params]:
    """The same check in a program that is built from a product's kit."""
    action = _check(matrix, cell, _subject(product, cell, language), "host")
    return replace(
        action,
        run=how.run,
        params=replace(action.params, product=product.name),
        upstream={**action.upstream, roles.KIT: Upstream(f"linkkit:{product.name}")},
        tools=how.tools,
        doc=f"run {cell.model.subject} in a program built from {product.name} ({language}), and compare its numbers",
        where=product.where,
    )


def _twins(matrix: Matrix) -> Iterator[AnyAction]:
    """The compile of each cell whose kernels are run here once more, with host code of this machine."""
    wanted = {cell.subject for cell in matrix.cells if "twin" in cell_runs(matrix, cell).values()}
    if matrix.twins is None or not wanted:
        return
    triple = matrix.twins.triple
    for action in compile_actions(matrix):
        if action.subject in wanted:
            yield replace(
                action,
                step="twin",
                out=f"build/twin/{action.subject}",
                params=replace(action.params, host=triple),
                proven_by="",
                doc=f"the kernels of {action.subject} with host code for {triple}",
            )
