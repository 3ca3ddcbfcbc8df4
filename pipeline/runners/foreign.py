"""Runners `qemu` and `wine`: an archive for another machine, in a program of ours, with that machine's own runtime.

That is 64-bit ARM under qemu-user, and Windows under Wine. For the latter MinGW links: its C library walks the
constructors of Visual C++'s objects as Microsoft's does.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.action import Facts, Job, Tool
from pipeline.files.sharing import show
from pipeline.process import run as run_program

from .check import Params, perform
from .linked import link, models, of_wheels, present
from .machine import Launch

_SHARED = ("libtvm_runtime.so", "libtvm_ffi.so")
_DLLS = ("tvm_runtime.dll", "tvm_ffi.dll")

_QEMU = "install qemu-user (Debian, Ubuntu: apt-get install qemu-user; Fedora: dnf install qemu-user)"
_CROSS_COMPILER = "install a cross compiler (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu)"
_WINE = "install Wine (Debian, Ubuntu: apt-get install wine64)"
_MINGW = "install MinGW (Debian, Ubuntu: apt-get install g++-mingw-w64-x86-64-posix)"

_ENVIRONMENT = {
    "WINEBOOTSTRAPMODE": "1",  # with its own libraries, instead of 700 MB of copies of them (see quirk COFF-5)
    "WINEDEBUG": "-all",
    "WINEDLLOVERRIDES": "winedbg.exe,mscoree,mshtml=d",
    "DISPLAY": None,
}


def run_qemu(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, "qemu", _launch_qemu)


def run_wine(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, "wine", _launch_wine)


def _launch_qemu(job: Job[Params], scratch: Path) -> Launch:
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


def _launch_wine(job: Job[Params], scratch: Path) -> Launch:
    wine = present(job.tools.get("wine"), "there is no Wine", _WINE)
    compiler = present(job.tools.get("mingw-c++"), "there is no compiler of MinGW", _MINGW)
    beside = []  # where a program for Windows looks for libraries first
    for path in of_wheels(job, _DLLS):
        beside.append(scratch / path.name)
        show(path.resolve(), beside[-1])
    # Of tvm_runtime.dll the models need no symbol, and a library of which nothing is needed is not loaded.
    flags = models(job, "-u", "TVMBackendAllocWorkspace")
    program = link(job, compiler, ["-static", *flags, *beside], scratch / "program.exe")
    prefix = scratch / "prefix"
    prefix.mkdir()
    (prefix / ".update-timestamp").write_text("disable\n")
    command = (str(wine.path), str(program), job.params.model.prefix)
    return Launch(command=command, env={**_ENVIRONMENT, "WINEPREFIX": str(prefix)}, emulated="Wine")
