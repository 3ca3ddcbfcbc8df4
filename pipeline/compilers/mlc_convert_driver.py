"""Runs `mlc_llm gen_config` or `convert_weight` where its C++ library may be missing. Run as a program, by path.

`compilers.mlc_convert` runs it in the toolchain's interpreter. Only the standard library may be imported at the top,
and nothing of this project at all; what compiling needs is in `mlc_driver`: neither is in the other's key. One thing is
put right, because it decides how much memory a conversion takes: see `_quantize_in_one_pass`.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any


def main() -> None:
    """The words are those behind `mlc_llm`."""
    subcommand, *words = sys.argv[1:]
    if os.environ.get("SKIP_LOADING_MLCLLM_SO") == "1":  # see `mlc_driver.allow_missing_library`
        registry: Any = importlib.import_module("tvm_ffi.registry")
        registry._SKIP_UNKNOWN_OBJECTS = True  # noqa: SLF001
    importlib.import_module("mlc_llm.support.logging").enable_logging()
    if subcommand == "convert_weight":
        # It asks a process of its own whether there is a CPU, and that needs the library, which may be missing.
        importlib.import_module("mlc_llm.support.auto_device")._RESULT_CACHE["cpu:0"] = True  # noqa: SLF001
        _quantize_in_one_pass()
    sys.argv = ["mlc_llm", subcommand, *words]
    importlib.import_module(f"mlc_llm.cli.{subcommand}").main(words)


def _quantize_in_one_pass() -> None:
    """Have a tensor quantized without its numbers standing by in 32 bits each, which take twice what the tensor does.

    mlc_llm gives kernels for CPUs no schedule. Where this release is not as known, they stay as they are.
    """
    try:
        quantization: Any = importlib.import_module("mlc_llm.quantization.group_quantization")
        compiled = quantization.compile_quantize_func
        importlib.import_module("tvm.s_tir").Schedule  # noqa: B018 - whether there is one
    except (ImportError, AttributeError):
        return
    quantization.compile_quantize_func = lambda module, *rest, **more: compiled(_inlined(module), *rest, **more)


def _inlined(module: Any) -> Any:
    """The module, each of whose kernels computes where it is read what can be computed there."""
    tvm: Any = importlib.import_module("tvm")
    made = {}
    try:
        for variable, function in module.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc):
                schedule = tvm.s_tir.Schedule(function)
                for block in schedule.get_child_blocks(schedule.get_sblock("root")):
                    with suppress(tvm.s_tir.ScheduleError):  # a reduction, or the result
                        schedule.compute_inline(block)
                made[variable] = schedule.mod["main"].with_attrs(function.attrs or {})
    except Exception as error:  # noqa: BLE001 - whatever another TVM says: it only takes more memory then
        print(f"quantized in several passes: {error}")  # noqa: T201 - the log
        return module
    for variable, function in made.items():
        module.update_func(variable, function)
    return module


if __name__ == "__main__":
    main()
