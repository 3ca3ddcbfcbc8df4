"""The program in C++ that speaks `wire`, linked with models and a runtime: for runners of another process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.action import Job, Tool
from pipeline.errors import StepError, ToolMissing
from pipeline.native import wheel
from pipeline.process import run as run_program

from .check import Params

PACKAGE_DATA = "runners/native"

COMPILER = "install a C++ compiler (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install)"
"""The cure where there is none."""

_PROGRAM = Path(__file__).parent / "native" / "program.cc"


def link(job: Job[Params], compiler: Tool, given: Sequence[str | Path], out: Path) -> Path:
    """Link the program for the machine that the compiler compiles for.

    Args:
        job: its toolchain has the headers.
        compiler: for C++.
        given: models and runtime, as the compiler takes them.
        out: the program.

    Raises:
        StepError: it does not compile or link.
    """
    packages = job.services.worker(job.params.toolchain).call(partial(wheel.find), log=job.log)
    words = [compiler.path, "-std=c++17", "-O1", *wheel.includes(packages), _PROGRAM, *given, "-lm", "-o", out]
    try:
        run_program(words, log=job.log)
    except StepError as error:
        raise StepError(f"it does not link with the runtime: {error.what}", hint="see the log", log=job.log) from error
    return out


def present(tool: Tool | None, what: str, hint: str) -> Tool:
    """The tool.

    Raises:
        ToolMissing: there is none.
    """
    if tool is None:
        raise ToolMissing(what, hint=hint)
    return tool
