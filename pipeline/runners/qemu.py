"""Runner `qemu`: the archive for 64-bit ARM, in a program of ours under qemu-user, with that machine's own runtime."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job, Tool
from pipeline.documents.archive import read_archive_json
from pipeline.errors import StepError, ToolMissing
from pipeline.kits import link_flags
from pipeline.native import wheel
from pipeline.process import run as run_program

from .check import Params, perform
from .machine import Launch

PACKAGE_DATA = "runners/native"

PROGRAM = Path(__file__).parent / "native" / "program.cc"
LIBRARIES = ("libtvm_runtime.so", "libtvm_ffi.so")

_QEMU = "install qemu-user (Debian, Ubuntu: apt-get install qemu-user; Fedora: dnf install qemu-user)"
_COMPILER = "install a cross compiler (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu)"


def run(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, Qemu())


class Qemu:
    """An emulated Linux process."""

    name = "qemu"

    def launch(self, job: Job[Params], scratch: Path) -> Launch:
        """See `Runner`."""
        compiler, words = emulator(job)
        runtime = [path / name for _, path in roles.all_of(roles.WHEEL, job.inputs) for name in LIBRARIES]
        runtime = [path for path in runtime if path.is_file()]
        program = link(job, compiler.path, runtime, scratch / "program")
        found = ("-E", f"LD_LIBRARY_PATH={':'.join(str(path.parent) for path in runtime)}")
        return Launch(command=(*words, *found, str(program), job.params.model.prefix), emulated="qemu-user")


def emulator(job: Job[Params]) -> tuple[Tool, tuple[str, ...]]:
    """The compiler for 64-bit ARM, and the words before a program of its.

    Raises:
        ToolMissing: this machine lacks one of them.
    """
    qemu = present(job.tools.get("qemu-aarch64"), "there is no qemu-aarch64", _QEMU)
    compiler = present(job.tools.get("aarch64-c++"), "there is no cross compiler", _COMPILER)
    said = run_program([compiler.path, "-print-sysroot"], log=job.log).output.strip()
    root = said if said not in {"", "/"} else f"/usr/{_triple(compiler)}"
    return compiler, (str(qemu.path), "-L", root)


def link(job: Job[Params], compiler: Path, runtime: list[Path], out: Path) -> Path:
    """Link the program, the models and the runtime, for the machine that the compiler compiles for.

    Raises:
        StepError: it does not compile or link.
    """
    folder = job.inputs[roles.ARCHIVE]
    described = read_archive_json(folder)
    prefixes = [model.prefix for model in described.models]
    packages = job.services.worker(job.params.toolchain).call(partial(wheel.find), log=job.log)
    keep = [*link_flags.keep(prefixes, "elf"), *link_flags.force_load(str(folder / described.library), "elf")]
    words: list[str | Path] = [
        compiler, "-std=c++17", "-O1", *(f"-I{path}/include" for name, path in packages.items() if name != "version"),
        PROGRAM, *(word for flag in keep for word in ("-Xlinker", flag)), "-Wl,--gc-sections", "-Wl,--no-as-needed",
        *runtime, "-lm", "-o", out,
    ]  # fmt: skip
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


def _triple(compiler: Tool) -> str:
    """`aarch64-linux-gnu` of `aarch64-linux-gnu-g++`."""
    return compiler.path.name.rpartition("-")[0]
