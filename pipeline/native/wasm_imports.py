"""What a page gives a wasm module, so that everything else a module asks for is known to be missing.

A linker for the web leaves undefined functions to the page (`ERROR_ON_UNDEFINED_SYMBOLS=0`), because some really come
from there. A function that was forgotten in the link looks just the same, and fails when it is first called. The step
`wasm` asks here. Sources: the environment of @mlc-ai/web-runtime, WASI, and emscripten's standalone modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.binary.object_info import ObjectInfo, WasmImport

_PAGE = re.compile(
    "TVMFFIWasmSafeCall|TVMFFIWasmFunctionDeleter"  # since tvm-ffi
    "|TVMWasmPackedCFunc|TVMWasmPackedCFuncFinalizer"  # before
    "|__cxa_thread_atexit|__console_log"
    "|emscripten_notify_memory_growth|_?emscripten_[a-z0-9_]+|__syscall_[a-z0-9_]+|_[a-z_]+_js|__assert_fail|abort"
)


def missing(module: ObjectInfo) -> tuple[WasmImport, ...]:
    """The functions a linked module asks for and no page has."""
    return tuple(
        wanted
        for wanted in module.imports
        if wanted.kind == "function"
        and not wanted.module.startswith("wasi_")
        and not (wanted.module == "env" and _PAGE.fullmatch(wanted.name))
    )


def askers(name: str, objects: Iterable[ObjectInfo]) -> tuple[str, ...]:
    """Names of the objects that leave a function undefined."""
    return tuple(info.name for info in objects if any(symbol.name == name for symbol in info.undefined))
