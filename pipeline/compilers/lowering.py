"""`tvm.relax.build`, taken apart at the point where the host's triple first matters.

`relax` and `mlc_lowering` call `lower` in a process that is then forked for every `generate`. What the two do together
is what `tvm.relax.build` does; the objects are byte for byte those of a build in one go.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import tvm
from tvm import relax, tirx
from tvm.ir.transform import Pass, PassContext
from tvm.relax import _ffi_api
from tvm.relax.vm_build import VMExecutable, _filter_tir, _is_device_module, _vmcodegen
from tvm.target import Target
from tvm.tirx.build import codegen_build, split_host_device_mods
from tvm_ffi import Module

from . import metallib, targets
from .lowered import Parts
from .metallib import Shaders


def lower(module: tvm.IRModule, target: Target, last: Pass | None = None) -> Parts:
    """Lower a module to the point where only code generation for the host is left.

    The module is what a Relax pipeline made, with the attribute `system_lib_prefix`. The target has a host, which
    stands in for others where lowering is the same for all. `last` is done to the device's functions at the very end.
    """
    constants = dict(module.attrs.get("const_name_to_constant", {}))
    external = tuple(module.attrs.get("external_mods", ()))
    builder = relax.ExecBuilder()
    functions_left = _filter_tir(_vmcodegen(builder, module)) or tvm.IRModule({}, attrs=module.attrs)
    host, on_device = lower_functions(functions_left, target, last)
    return Parts(target, host, kernels(on_device), on_device, builder, constants, external, PassContext.current())


def lower_functions(
    module: tvm.IRModule, target: Target, last: Pass | None = None
) -> tuple[tvm.IRModule, dict[Target, tvm.IRModule]]:
    """What `tvm.tirx.build` does before it asks for code: the host's functions, and those of each kind of device."""
    host = target.host or target
    module = tirx.transform.BindTarget(target.with_host(host))(module)
    # What `relax.build` takes for every target; the one of its own that TVM has for Adreno is not fit to be called.
    passes, finalize_host, finalize_device = tirx.get_tir_pipeline("default")
    on_host, on_device = split_host_device_mods(passes(module))
    finalize = tvm.transform.Sequential([finalize_device(), *([last] if last is not None else [])])
    return finalize_host()(on_host), {kind: finalize(functions) for kind, functions in on_device.items()}


def kernels(on_device: Mapping[Target, tvm.IRModule]) -> tuple[Module, ...]:
    """The code of each kind of device."""
    return tuple(codegen_build(functions, kind) for kind, functions in on_device.items())


def generate(parts: Parts, *, triple: str, prefix: str, shaders: Shaders | None, out: Path) -> dict[str, object]:
    """Generate the code for a host ("arm64-apple-ios14.0") and write `<prefix>lib0.o` and `<prefix>devc.o` into `out`.

    `shaders` says for what Metal kernels are compiled here; None where they stay source.

    Returns:
        Facts: `bytes` of both objects; for Metal `kernels`, which is `source` or `metallib`, and for the latter
        `shaders`, how many there are, and `shaders_compiled`, how many of them were not known from before.

    Raises:
        StepError: the Metal compiler refused a kernel.
        ToolMissing: kernels are to be compiled here, and there is no Metal compiler.
    """
    host, target = targets.with_host(parts.device, triple)
    with parts.context:
        # A CPU is its own host, and was given the real triple.
        functions = parts.host if parts.device.kind.name == "llvm" else _retargeted(parts.host, host)
        library = codegen_build(functions, host)
        of_device, about = _kernels_for(parts, shaders)
        for made in (*of_device, *filter(_is_device_module, parts.external)):
            library.import_module(made)
        others = [brought for brought in parts.external if not _is_device_module(brought)]
        linked = _ffi_api.VMLink(parts.builder, target, library, others, dict(parts.constants))
        size = _export(VMExecutable(linked), out, prefix)
    return {**about, "bytes": size}


def _kernels_for(parts: Parts, shaders: Shaders | None) -> tuple[tuple[Module, ...], dict[str, object]]:
    """The device's code for one system, and facts about it: a metallib, unlike source, is for one system only."""
    if parts.device.kind.name != "metal":
        return parts.kernels, {}
    with metallib.compiling(shaders) as count:
        made = parts.kernels if count is None else kernels(parts.functions_on_device)
    return made, metallib.facts(count)


def _retargeted(module: tvm.IRModule, host: Target) -> tvm.IRModule:
    """Give every function the real host in place of the one that stood in for it."""
    functions = {variable: function.with_attr("target", host) for variable, function in module.functions.items()}
    return tvm.IRModule(functions, attrs=module.attrs)


def _export(executable: VMExecutable, out: Path, prefix: str) -> int:
    """Write the executable's two objects under names that are unique to the model; return their size in bytes.

    TVM's own way out is a gzipped tar with today's time in it, which costs more than generating the code.
    """

    def collect(_name: str, objects: list[str], **_options: object) -> list[str]:
        return objects

    with tempfile.TemporaryDirectory(dir=out) as scratch:
        objects = executable.export_library("objects", fcompile=collect, workspace_dir=scratch)
        size = 0
        for item in map(Path, objects):
            own = out / (item.name if item.name.startswith(prefix) else prefix + item.name)
            shutil.move(item, own)
            size += own.stat().st_size
    return size
