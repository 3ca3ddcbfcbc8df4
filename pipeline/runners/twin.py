"""Runner `twin`: the kernels of a model whose host code is for another machine, under host code for this one.

The twin is generated from the backend's own lowering; that its device code is byte for byte what ships is shown before
anything runs. What ships is the kernels, then, and not the program around them. OpenCL runs on any driver with the
runtime of a checkout of TVM. Metal runs on a Mac with the runtime in the toolchain's package; that has never been run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import roles
from pipeline.action import Job, present
from pipeline.binary.ar import Member, read_archive
from pipeline.binary.blobs import VM_KINDS, find_blobs
from pipeline.binary.objects import loaded_sections
from pipeline.documents.archive import Archive
from pipeline.errors import StepError, VerifyError
from pipeline.native import opencl, wheel

from .check import Params, runner
from .linked import COMPILER, link
from .machine import Launch

DRIVER = "install an OpenCL driver and headers ({})".format(
    "Debian, Ubuntu: apt-get install pocl-opencl-icd ocl-icd-opencl-dev opencl-headers"
)
CHECKOUT = "let TVM_SOURCE_DIR name a checkout of TVM"

_KERNEL = re.compile(rb"\b(?:__)?kernel\s+void\s+(?:__attribute__\(\(.*?\)\)\s*)?(\w+)")
_SHOWN = 60

_HINT = "run doit again; where it stays so the compiler is not deterministic, and the kernels that ship cannot be run"

Modules = dict[str, bytes]
"""Kind of a module (`opencl`) -> its content: the kernels' source and how they are called."""


@runner("twin")
def run(job: Job[Params], scratch: Path) -> Launch:
    """Raises a VerifyError where the twin's kernels are not those that ship."""
    params, archive = job.params, job.inputs[roles.ARCHIVE]
    objects = job.inputs[roles.objects(params.model.subject)]
    shipped = of_archive(archive / Archive.read(archive).library, params.model.prefix)
    check_equal(shipped, of_objects(objects, params.model.prefix))
    kind = params.backend.device_kind
    runtime = _runtime(job, kind)
    paths = [word for path in runtime for word in ("-Xlinker", "-rpath", "-Xlinker", path.parent)]
    needed = () if sys.platform == "darwin" else ("-Wl,--no-as-needed",)
    compiler = present(job.tools.get("c++"), "there is no C++ compiler", COMPILER)
    given = [*sorted(objects.glob("*.o")), *needed, *paths, *runtime]
    program = link(job, compiler, given, scratch / "program")
    command = (str(program), params.model.prefix, kind, *extensions(shipped))
    # PoCL's cache of compiled kernels goes with the scratch directory.
    return Launch(command=command, env={"POCL_CACHE_DIR": str(scratch / "kernels")})


def _runtime(job: Job[Params], kind: str) -> list[Path]:
    """The libraries that the program is linked with."""
    packages = wheel.ask(job, job.params.toolchain)
    runtime = [Path(path) for path in wheel.libraries(packages).values()]
    of_device = [path.with_stem(f"{path.stem}_{kind}") for path in runtime]
    if kind != "opencl":
        return [*(path for path in of_device if path.is_file()), *runtime]
    checkout = present(job.tools.get(roles.TVM_CHECKOUT), "there is no checkout of TVM", CHECKOUT)
    present(job.tools.get("opencl"), "there is no OpenCL driver, or no headers for it", DRIVER)
    compiler = present(job.tools.get("c++"), "there is no C++ compiler", COMPILER)
    home = job.cache_dir("opencl")
    return [opencl.build(checkout, compiler, packages, runtime, home=home, log=job.log), *runtime]


def of_archive(library: Path, prefix: str) -> Modules:
    """The device code of a model in an archive."""
    return _of(read_archive(library.read_bytes(), library.name), prefix, library)


def of_objects(folder: Path, prefix: str) -> Modules:
    """The device code of a model in a directory of objects."""
    return _of((Member(path.name, path.read_bytes()) for path in sorted(folder.glob("*.o"))), prefix, folder)


def _of(objects: Iterable[Member], prefix: str, where: Path) -> Modules:
    for blob in (blob for member in objects for blob in _blobs(member) if blob[0] == prefix):
        return {kind: content for kind, content in blob[1] if kind not in VM_KINDS}
    raise StepError(f"no object has the blob of {prefix}", where=where, hint="build it again")


def _blobs(member: Member) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    for section in loaded_sections(member.data, member.name):
        for blob in find_blobs(section.data):
            yield blob.prefix, list(blob.modules(section.data))


def check_equal(shipped: Modules, twin: Modules) -> None:
    """Hold a twin's device code against what ships.

    Raises:
        VerifyError: it differs; the message says in which kernel.
    """
    if shipped.keys() != twin.keys() or not shipped:
        have, want = (", ".join(sorted(one)) or "none" for one in (twin, shipped))
        raise VerifyError(f"the twin has device code of kind {have}, and what ships has {want}", hint=_HINT)
    for kind, ours in shipped.items():
        if (theirs := twin[kind]) != ours:
            raise VerifyError(f"the twin's {kind} kernels are not those that ship: {_where(ours, theirs)}", hint=_HINT)


def extensions(modules: Modules) -> tuple[str, ...]:
    """The extensions of OpenCL that kernels ask for, sorted."""
    found = {name for code in modules.values() for name in re.findall(rb"#pragma OPENCL EXTENSION (cl_khr_\w+)", code)}
    return tuple(sorted(name.decode() for name in found))


def _where(ours: bytes, theirs: bytes) -> str:
    """Where two pieces of code differ first, in words."""
    ends = min(len(ours), len(theirs))
    at = next((place for place in range(ends) if ours[place] != theirs[place]), ends)
    names = [match[1].decode() for match in _KERNEL.finditer(ours[: at + 1])]
    start = ours.rfind(b"\n", 0, at) + 1
    lines = (code[start : start + _SHOWN].partition(b"\n")[0].decode("utf-8", "replace") for code in (ours, theirs))
    what = "at byte {}{}: {!r} ships, the twin has {!r}"
    return what.format(at, f" in {names[-1]}" if names else "", *lines)
