"""Runner `qemu`: the archive for 64-bit ARM, in a program of ours under qemu-user, with that machine's own runtime."""

from __future__ import annotations

from pathlib import Path

from pipeline.action import Facts, Job, Tool
from pipeline.process import run as run_program

from .check import Params, perform
from .linked import link, models, of_wheels, present
from .machine import Launch

LIBRARIES = ("libtvm_runtime.so", "libtvm_ffi.so")

_QEMU = "install qemu-user (Debian, Ubuntu: apt-get install qemu-user; Fedora: dnf install qemu-user)"
_COMPILER = "install a cross compiler (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu)"


def run(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, "qemu", _launch)


def _launch(job: Job[Params], scratch: Path) -> Launch:
    compiler, words = emulator(job)
    runtime = of_wheels(job, LIBRARIES)
    program = link(job, compiler, [*models(job, "--gc-sections", "--no-as-needed"), *runtime], scratch / "program")
    found = ("-E", f"LD_LIBRARY_PATH={':'.join(str(path.parent) for path in runtime)}")
    return Launch(command=(*words, *found, str(program), job.params.model.prefix), emulated="qemu-user")


def emulator(job: Job[Params]) -> tuple[Tool, tuple[str, ...]]:
    """The compiler for 64-bit ARM, and the words before a program of its.

    Raises:
        ToolMissing: this machine lacks one of them.
    """
    qemu = present(job.tools.get("qemu-aarch64"), "there is no qemu-aarch64", _QEMU)
    compiler = present(job.tools.get("aarch64-c++"), "there is no cross compiler", _COMPILER)
    said = run_program([compiler.path, "-print-sysroot"], log=job.log, apart=True).output.strip()
    root = said if said not in {"", "/"} else f"/usr/{_triple(compiler)}"
    return compiler, (str(qemu.path), "-L", root)


def _triple(compiler: Tool) -> str:
    """`aarch64-linux-gnu` of `aarch64-linux-gnu-g++`."""
    return compiler.path.name.rpartition("-")[0]
