"""Runner `twin`: the kernels of a model whose host code is for another machine, under host code for this one.

The twin is generated from the backend's own lowering; that its device code is byte for byte what ships is shown before
anything runs. What ships is the kernels, then, and not the program around them. OpenCL runs on any driver with the
runtime of a checkout of TVM. Metal runs on a Mac with the runtime in the toolchain's package; that has never been run.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.archive import Archive
from pipeline.native import opencl, wheel

from . import device_code
from .check import Params, perform
from .linked import COMPILER, link, present
from .machine import Launch

DRIVER = "install an OpenCL driver and headers ({})".format(
    "Debian, Ubuntu: apt-get install pocl-opencl-icd ocl-icd-opencl-dev opencl-headers"
)
CHECKOUT = "let TVM_SOURCE_DIR name a checkout of TVM"


def run(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, "twin", _launch)


def _launch(job: Job[Params], scratch: Path) -> Launch:
    """Raises a VerifyError where the twin's kernels are not those that ship."""
    params, archive = job.params, job.inputs[roles.ARCHIVE]
    objects = job.inputs[roles.objects(params.model.subject)]
    shipped = device_code.of_archive(archive / Archive.read(archive).library, params.model.prefix)
    device_code.check_equal(shipped, device_code.of_objects(objects, params.model.prefix))
    kind = params.backend.device_kind
    runtime = _runtime(job, kind)
    paths = [word for path in runtime for word in ("-Xlinker", "-rpath", "-Xlinker", path.parent)]
    needed = () if sys.platform == "darwin" else ("-Wl,--no-as-needed",)
    compiler = present(job.tools.get("c++"), "there is no C++ compiler", COMPILER)
    given = [*sorted(objects.glob("*.o")), *needed, *paths, *runtime]
    program = link(job, compiler, given, scratch / "program")
    command = (str(program), params.model.prefix, kind, *device_code.extensions(shipped))
    # PoCL's cache of compiled kernels goes with the scratch directory.
    return Launch(command=command, env={"POCL_CACHE_DIR": str(scratch / "kernels")})


def _runtime(job: Job[Params], kind: str) -> list[Path]:
    """The libraries that the program is linked with."""
    packages = job.services.worker(job.params.toolchain).call(partial(wheel.find), log=job.log)
    runtime = [Path(path) for path in wheel.libraries(packages).values()]
    of_device = [path.with_stem(f"{path.stem}_{kind}") for path in runtime]
    if kind != "opencl":
        return [*(path for path in of_device if path.is_file()), *runtime]
    checkout = present(job.tools.get(roles.TVM_CHECKOUT), "there is no checkout of TVM", CHECKOUT)
    present(job.tools.get("opencl"), "there is no OpenCL driver, or no headers for it", DRIVER)
    compiler = present(job.tools.get("c++"), "there is no C++ compiler", COMPILER)
    home = job.cache_dir("opencl")
    return [opencl.build(checkout, compiler, packages, runtime, home=home, log=job.log), *runtime]
