"""Runner `wine`: an archive for Windows, in a program of ours, with Windows' own runtime, under Wine.

MinGW links: its C library walks the constructors of Visual C++'s objects as Microsoft's does.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.action import Job, present

from .check import Params, runner
from .linked import link, models, of_wheels
from .machine import Launch

_DLLS = ("tvm_runtime.dll", "tvm_ffi.dll")

_WINE = "install Wine (Debian, Ubuntu: apt-get install wine64)"
_MINGW = "install MinGW (Debian, Ubuntu: apt-get install g++-mingw-w64-x86-64-posix)"

_ENVIRONMENT = {
    "WINEBOOTSTRAPMODE": "1",  # with its own libraries, instead of 700 MB of copies of them (see quirk COFF-5)
    "WINEDEBUG": "-all",
    "WINEDLLOVERRIDES": "winedbg.exe,mscoree,mshtml=d",
    "DISPLAY": None,
}


@runner("wine")
def run(job: Job[Params], scratch: Path) -> Launch:
    """Link a program, with its libraries beside it, and give Wine a place of its own."""
    wine = present(job.tools.get("wine"), "there is no Wine", _WINE)
    compiler = present(job.tools.get("mingw-c++"), "there is no compiler of MinGW", _MINGW)
    beside = []  # where a program for Windows looks for libraries first
    for path in of_wheels(job, _DLLS):
        beside.append(scratch / path.name)
        beside[-1].symlink_to(path.resolve())
    # Of tvm_runtime.dll the models need no symbol, and a library of which nothing is needed is not loaded.
    flags = models(job, "-u", "TVMBackendAllocWorkspace")
    program = link(job, compiler, ["-static", *flags, *beside], scratch / "program.exe")
    prefix = scratch / "prefix"
    prefix.mkdir()
    (prefix / ".update-timestamp").write_text("disable\n")
    command = (str(wine.path), str(program), job.params.model.prefix)
    return Launch(command=command, env={**_ENVIRONMENT, "WINEPREFIX": str(prefix)}, emulated="Wine")
