"""Runner `qemu`: an archive for 64-bit ARM, in a program of ours, with that machine's own runtime, under qemu-user."""

from __future__ import annotations

from pathlib import Path

from pipeline.action import Job, Tool, present
from pipeline.process import run as run_program

from .check import Params, runner
from .linked import link, models, of_wheels
from .machine import Launch

_SHARED = ("libtvm_runtime.so", "libtvm_ffi.so")

_QEMU = "install qemu-user (Debian, Ubuntu: apt-get install qemu-user; Fedora: dnf install qemu-user)"
_CROSS_COMPILER = "install a cross compiler (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu)"


@runner("qemu")
def run(job: Job[Params], scratch: Path) -> Launch:
    """Link a program, and have qemu find the runtime."""
    compiler, words = emulator(job)
    runtime = of_wheels(job, _SHARED)
    program = link(job, compiler, [*models(job, "--gc-sections", "--no-as-needed"), *runtime], scratch / "program")
    found = ("-E", f"LD_LIBRARY_PATH={':'.join(str(path.parent) for path in runtime)}")
    return Launch(command=(*words, *found, str(program), job.params.model.prefix), emulated="qemu-user")


def emulator(job: Job[Params]) -> tuple[Tool, tuple[str, ...]]:
    """The compiler for 64-bit ARM, and the words before a program of its.

    Raises:
        ToolMissing: this machine lacks one of them.
    """
    qemu = present(job.tools.get("qemu-aarch64"), "there is no qemu-aarch64", _QEMU)
    compiler = present(job.tools.get("aarch64-c++"), "there is no cross compiler", _CROSS_COMPILER)
    said = run_program([compiler.path, "-print-sysroot"], log=job.log, apart=True).output.strip()
    root = said if said not in {"", "/"} else f"/usr/{_triple(compiler)}"
    return compiler, (str(qemu.path), "-L", root)


def _triple(compiler: Tool) -> str:
    """`aarch64-linux-gnu` of `aarch64-linux-gnu-g++`."""
    return compiler.path.name.rpartition("-")[0]
