"""Runs `mlc_llm gen_config` or `convert_weight` where its C++ library may be missing. Run as a program, by path.

`compilers.mlc_convert` runs it in the toolchain's interpreter. Only the standard library may be imported at the top,
and nothing of this project at all; what compiling needs is in `mlc_driver`: neither is in the other's key.
"""

from __future__ import annotations

import importlib
import os
import sys
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
    sys.argv = ["mlc_llm", subcommand, *words]
    importlib.import_module(f"mlc_llm.cli.{subcommand}").main(words)


if __name__ == "__main__":
    main()
