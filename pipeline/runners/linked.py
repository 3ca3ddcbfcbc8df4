"""The program in C++ that speaks `wire`, linked with models and a runtime: for runners of another process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline import roles
from pipeline.action import Job, Tool, present
from pipeline.documents.archive import Archive
from pipeline.errors import StepError, ToolMissing
from pipeline.kits import link_flags
from pipeline.native import wheel
from pipeline.process import run as run_program

from .check import Params

PACKAGE_DATA = "runners/native"

COMPILER = "install a C++ compiler (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install)"
"""The cure where there is none."""

_PROGRAM = Path(__file__).parent / "native" / "program.cc"


def link(job: Job[Params], compiler: Tool, given: Sequence[str | Path], out: Path) -> Path:
    """Link the program with models and runtime, given as the compiler takes them, for the compiler's own machine.

    Raises:
        StepError: it does not compile or link.
    """
    packages = wheel.ask(job, job.params.toolchain)
    words = [compiler.path, "-std=c++17", "-O1", *wheel.includes(packages), _PROGRAM, *given, "-lm", "-o", out]
    try:
        run_program(words, log=job.log)
    except StepError as error:
        raise StepError(f"it does not link with the runtime: {error.what}", hint="see the log", log=job.log) from error
    return out


def models(job: Job[Params], *flags: str) -> list[str]:
    """Words for a compiler whose linker is GNU's: all models of the archive, and further flags of the linker."""
    folder = job.inputs[roles.ARCHIVE]
    described = Archive.read(folder)
    keep = link_flags.keep([model.prefix for model in described.models], "elf")
    whole = link_flags.force_load(str(folder / described.library), "elf")
    return [word for flag in (*keep, *whole, *flags) for word in ("-Xlinker", flag)]


def of_wheels(job: Job[Params], names: Sequence[str]) -> list[Path]:
    """The libraries of a runtime in the wheels that were fetched for another system, as far as they are there."""
    paths = (folder / name for _, folder in roles.all_of(roles.WHEEL, job.inputs) for name in names)
    return [path for path in paths if path.is_file()]


def shared_runtime(job: Job[Params], lacking: str) -> tuple[str, str]:
    """The toolchain's shared libraries: TVM's runtime, and tvm-ffi.

    Raises:
        ToolMissing: there are not both; `lacking` says so.
    """
    packages = wheel.ask(job, job.params.toolchain)
    match list(wheel.libraries(packages).values()):
        case [runtime, ffi]:
            return runtime, ffi
    raise ToolMissing(lacking, hint="install apache-tvm and apache-tvm-ffi in the toolchain's Python")


def recent(tool: Tool | None, name: str, oldest: tuple[int, ...], hint: str) -> Tool:
    """The tool, if it is not older than that.

    Raises:
        ToolMissing: there is none, or it is older.
    """
    tool = present(tool, f"there is no {name}", hint)
    found = re.search(r"v?(\d{1,9}(?:\.\d{1,9})*)", tool.version)
    if found is None or tuple(map(int, found[1].split("."))) < oldest:
        raise ToolMissing(f"{name} {found[0] if found else tool.version} is too old", hint=hint)
    return tool
