"""Runner `wine`: the archive for Windows, in a program of ours that Wine runs, with that system's own runtime.

MinGW links it: its C library walks the constructors of Visual C++'s objects as Microsoft's does.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.archive import Archive
from pipeline.kits import link_flags

from .check import Params, perform
from .linked import link, present
from .machine import Launch

LIBRARIES = ("tvm_runtime.dll", "tvm_ffi.dll")

_WINE = "install Wine (Debian, Ubuntu: apt-get install wine64)"
_COMPILER = "install MinGW (Debian, Ubuntu: apt-get install g++-mingw-w64-x86-64-posix)"

_ENVIRONMENT = {
    "WINEBOOTSTRAPMODE": "1",  # with its own libraries, instead of 700 MB of copies of them (see quirk COFF-5)
    "WINEDEBUG": "-all",
    "WINEDLLOVERRIDES": "winedbg.exe,mscoree,mshtml=d",
    "DISPLAY": None,
}


def run(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, Wine())


class Wine:
    """A process of Windows on Linux."""

    name = "wine"

    def launch(self, job: Job[Params], scratch: Path) -> Launch:
        """See `Runner`."""
        wine = present(job.tools.get("wine"), "there is no Wine", _WINE)
        compiler = present(job.tools.get("mingw-c++"), "there is no compiler of MinGW", _COMPILER)
        folder = job.inputs[roles.ARCHIVE]
        described = Archive.read(folder)
        keep = link_flags.keep([model.prefix for model in described.models], "elf")  # MinGW's linker is GNU's
        models = [*keep, *link_flags.force_load(str(folder / described.library), "elf")]
        # Of tvm_runtime.dll the models need no symbol, and a library of which nothing is needed is not loaded.
        flags = [word for flag in (*models, "-u", "TVMBackendAllocWorkspace") for word in ("-Xlinker", flag)]
        program = link(job, compiler, ["-static", *flags, *_beside(job, scratch)], scratch / "program.exe")
        prefix = scratch / "prefix"
        prefix.mkdir()
        (prefix / ".update-timestamp").write_text("disable\n")
        command = (str(wine.path), str(program), job.params.model.prefix)
        return Launch(command=command, env={**_ENVIRONMENT, "WINEPREFIX": str(prefix)}, emulated="Wine")


def _beside(job: Job[Params], scratch: Path) -> list[Path]:
    """The runtime's libraries, where a program for Windows looks for them first: beside it."""
    found = []
    for _, folder in roles.all_of(roles.WHEEL, job.inputs):
        for name in LIBRARIES:
            if (folder / name).is_file():
                found.append(scratch / name)
                found[-1].symlink_to((folder / name).resolve())
    return found
