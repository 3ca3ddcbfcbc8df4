"""Compiles a model with TVM's Relax: everything up to the host's triple once, then two objects per triple.

`pipeline.steps.compile_relax` has a worker call `lower` in a process that is then forked for every `codegen`; where the
line between the two is, and why the objects are those of a build in one go, says `lowering`. It knows no archive, no
store and no graph.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import tvm
import tvm_ffi
from tvm import relax
from tvm.ir.transform import Pass
from tvm.target import Target

from pipeline.action import Facts
from pipeline.documents.functions import Functions
from pipeline.errors import StepError
from pipeline.files.sharing import show

from . import lowering, reasons, schedules, signatures, sources, targets
from .confinement import confined
from .lowered import Asked, Lowered, Parts
from .metallib import Shaders
from .passes import inline_places
from .recipe import BuildSpec

Memory = Mapping[str, int | None]
"""Function -> bytes that it allocates, as TVM's memory planning left it; None where only a call knows a size."""


def lower(asked: Asked) -> Lowered:
    """Load a model and lower it to the point where only code generation for the host is left.

    Raises:
        StepError: the model or the device is wrong, or TVM refused the model.
    """
    started = time.process_time()
    model = asked.model
    target = targets.target_of(asked.device, asked.triple)
    with confined(asked.reads) as scope, _folder_of(asked.config) as weights, target:
        spec = BuildSpec(model.model, model.variant, model.options, weights, target.kind.name)
        loaded = sources.load(asked.source, scope, spec, compiling=True)
        functions = signatures.describe(loaded.module, loaded.names(), scope.source)
    functions = signatures.renamed(functions, loaded.inputs, loaded.outputs)
    if not functions:
        hint = "give its module at least one public Relax function"
        raise StepError("this model has no function to call", where=scope.source, hint=hint)
    module = loaded.module.with_attr("system_lib_prefix", model.prefix)
    with _refusals(scope.source, target):
        schedule, (parts, memory) = _scheduled(module, target, metal_simdgroup=asked.metal_simdgroup)
    facts: dict[str, object] = {"lower_cpu": round(time.process_time() - started, 3), "schedule": schedule.name}
    facts |= {"functions": len(functions)} | ({"note": schedule.note} if schedule.note else {})
    own = {one.name: memory.get(one.name) for one in functions}
    return Lowered(parts, facts, Functions(model.prefix, functions, tvm.__version__, tvm_ffi.__version__, memory=own))


def _scheduled(
    module: tvm.IRModule, target: Target, *, metal_simdgroup: bool
) -> tuple[schedules.Schedule, tuple[Parts, Memory]]:
    """Lower a module with the usual schedules, and where kernels do not compile with them, with plainer ones."""
    schedule = schedules.usual(target, metal_simdgroup=metal_simdgroup)
    try:
        return schedule, _lower_module(module, target, schedule.passes)
    except Exception as first:
        if target.kind.name == "llvm":
            raise
        print(f"with the usual schedules: {reasons.reason(first)}")  # noqa: T201 - a worker's stdout is its log
        schedule = schedules.tried(target, partial(_compile_kernel, target=target), metal_simdgroup=metal_simdgroup)
        with suppress(Exception):  # the first error is that of the way that others go, too
            return schedule, _lower_module(module, target, schedule.passes)
        raise


def _compile_kernel(module: tvm.IRModule, target: Target) -> None:
    """Compile the one function of a module, which has no name yet, as far as its device goes."""
    named = {variable: function.with_attr("global_symbol", "main") for variable, function in module.functions.items()}
    _, on_device = lowering.lower_functions(tvm.IRModule(named, attrs=module.attrs), target, _last(target))
    lowering.kernels(on_device)


def _lower_module(module: tvm.IRModule, target: Target, passes: Pass) -> tuple[Parts, Memory]:
    with target:
        module = passes(module)
    memory = _planned(module)
    return lowering.lower(module, target, _last(target)), memory


def _planned(module: tvm.IRModule) -> Memory:
    """Function -> bytes of all its storages, which live at once; None where a size is known only at the call."""
    every = {str(name.name_hint): one for name, one in module.functions.items() if isinstance(one, relax.Function)}
    return {name: _allocated(one) for name, one in every.items()}


def _allocated(function: relax.Function) -> int | None:
    sizes: list[int | None] = []

    def visit(node: object) -> None:
        if isinstance(node, relax.Call) and getattr(node.op, "name", None) == "relax.vm.alloc_storage":
            shape = node.args[0]
            extents = list(shape.values) if isinstance(shape, relax.ShapeExpr) else [None]
            whole = [int(one) for one in extents if isinstance(one, tvm.tirx.IntImm)]
            sizes.append(math.prod(whole) if len(whole) == len(extents) else None)

    relax.analysis.post_order_visit(function, visit)
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _last(target: Target) -> Pass | None:
    """What is done to the functions of a device at the very end."""
    return inline_places() if target.kind.name == "opencl" else None


def codegen(state: Lowered, *, triple: str, out: Path, shaders: Shaders | None = None) -> Facts:
    """Generate the host's code and write `<prefix>lib0.o`, `<prefix>devc.o` and `functions.json` into `out`.

    Returns:
        Facts: as `lowering.generate`; `lower_cpu` and `codegen_cpu` in seconds, `functions` and `schedule`.

    Raises:
        StepError: LLVM does not know the triple, or refused the code, or the Metal compiler did.
        ToolMissing: kernels are to be compiled here, and there is no Metal compiler.
    """
    started = time.process_time()
    prefix = state.functions.prefix
    with _refusals(triple, state.parts.device):
        made = lowering.generate(state.parts, triple=triple, prefix=prefix, shaders=shaders, out=out)
    state.functions.write(out)
    return {**state.facts, **made, "codegen_cpu": round(time.process_time() - started, 3)}


@contextmanager
def _folder_of(files: Mapping[str, Path] | None) -> Iterator[Path | None]:
    """Show files as one directory, for as long as the context lasts."""
    if files is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            link = Path(folder, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            show(file, link)
        yield Path(folder)


def _refusals(where: str | Path, target: Target) -> AbstractContextManager[None]:
    what = f"TVM {tvm.__version__} could not compile for {target.kind.name}"
    hint = "write that part of the model with other operators, shapes or dtypes; TVM's traceback is in the log"
    return reasons.explained(what, hint, where)
