"""What a run of mlc_llm needs, whatever it is to do: its program, and the variables that keep it to its job.

`mlc`, `mlc_driver`, `probe` and the step `convert` ask. It knows neither of compiling nor of converting, so neither is
in the other's key.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.toolchains.spec import WITHOUT_LIBRARY

Foreign = Any
"""A module, class, function or object of mlc_llm's or TVM's, neither of which has types."""


def variables(scratch: Path) -> dict[str, str | None]:
    """What steers mlc_llm, and the libraries it uses; the worker's own environment holds nothing that would."""
    return {
        "MLC_LLM_HOME": str(scratch / "home"),  # its cache of libraries, empty
        "MLC_TEMP_DIR": str(scratch),
        "MLC_JIT_POLICY": "OFF",
        "MLC_DOWNLOAD_CACHE_POLICY": "OFF",
        "HF_HOME": str(scratch / "hub"),  # copies of modules that checkpoints bring along, empty
        "HF_HUB_OFFLINE": "1",
    }


def find_program(kind: str) -> Path | None:
    """The program `mlc_llm`: that of this environment, or for the kind `path` the one on PATH."""
    if kind != "path":
        own = Path(sys.executable).with_name("mlc_llm")
        return own if os.access(own, os.X_OK) else None
    found = shutil.which("mlc_llm")
    return None if found is None else Path(found)


def command(subcommand: str, words: Sequence[str]) -> Foreign:
    """The module of one of mlc_llm's own commands, whose `main` takes the words and is run once in this process."""
    allow_missing_library()
    importlib.import_module("mlc_llm.support.logging").enable_logging()
    sys.argv = ["mlc_llm", subcommand, *words]
    return importlib.import_module(f"mlc_llm.cli.{subcommand}")


def allow_missing_library() -> None:
    """Let mlc_llm be imported without its C++ library, where a checkout has none: only running a model needs it.

    tvm_ffi refuses classes that stand for objects of a library that is not loaded, unless it is told not to.
    """
    if os.environ.get(WITHOUT_LIBRARY) == "1":
        registry: Foreign = importlib.import_module("tvm_ffi.registry")
        registry._SKIP_UNKNOWN_OBJECTS = True  # noqa: SLF001 - what its own stubs generator sets
