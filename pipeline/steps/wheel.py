"""Step `wheel`: the shared libraries of TVM's runtime for another machine, out of the package for that machine.

The runners `qemu` and `wine` link with them, and kits bring them along. The package is of the very version that the
toolchain has, comes through the user's pip and is pinned in `slipway.lock`. What is only to be run is not fetched where
nothing here could run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pipeline.action import Facts, Job
from pipeline.documents.codec import encode
from pipeline.errors import StepError
from pipeline.matrix.cells import Backend
from pipeline.matrix.source import WeightsSource
from pipeline.native import wheel
from pipeline.platforms import architecture
from pipeline.weights.entry import Entry, identity
from pipeline.weights.fetch import fetch

_LIBRARIES = {
    ("apache-tvm", "linux"): ("libtvm_runtime.so",),
    ("apache-tvm-ffi", "linux"): ("libtvm_ffi.so",),
    ("apache-tvm", "macos"): ("libtvm_runtime.dylib", "libtvm_runtime_metal.dylib"),
    ("apache-tvm-ffi", "macos"): ("libtvm_ffi.dylib",),
    ("apache-tvm", "windows"): ("tvm_runtime.dll",),
    ("apache-tvm-ffi", "windows"): ("tvm_ffi.dll",),
}
"""Package and system -> what of it is wanted."""


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        package: one of `wheel.PACKAGES`.
        platform: see `platform_of`.
        toolchain: whose version it must have.
        lock: its entry of slipway.lock; None on first sight.
    """

    package: str
    platform: str
    toolchain: str
    lock: Entry | None


def platform_of(backend: Backend) -> str:
    """A backend's machine as weights of kind `package` know it: `linux-arm64`."""
    return f"{backend.platform}-{architecture(backend.arch)}"


def run(job: Job[Params]) -> Facts:
    """Have the libraries as outputs, under their own names; none where a tool to run them is missing.

    Raises:
        DownloadError: it cannot be had, or is not what the lock promises.
        StepError: the lock pins another version than the toolchain has.
    """
    params = job.params
    if missing := [name for name, tool in job.tools.items() if tool is None]:
        job.write("missing.txt", "\n".join(missing) + "\n")
        return {"lacks": missing}
    versions = wheel.ask(job, params.toolchain).versions
    if params.package not in versions:
        raise StepError(f"toolchain {params.toolchain} has no package {params.package}", hint="install it there")
    version, system = versions[params.package], params.platform.partition("-")[0]
    members = tuple(f"{wheel.PACKAGES[params.package]}/lib/{name}" for name in _LIBRARIES[params.package, system])
    source = WeightsSource("package", package=params.package, version=version, platform=params.platform, files=members)
    name = f"{params.package}@{params.platform}"
    if params.lock is not None and params.lock.source != identity(source):
        raise StepError(
            f"slipway.lock pins {params.package} {params.lock.resolved} for {params.platform}, and toolchain "
            f"{params.toolchain} has {version}",
            hint=f"delete the entry {name!r} from slipway.lock and run doit again",
        )
    report = partial(job.services.progress, unit="bytes")
    fetched = fetch(name, source, locked=params.lock, path=None, out=job.out, log=job.log, progress=report)
    for path, file in fetched.files.items():
        job.adopt(path.rpartition("/")[2], file, fetched.entry.files[path].digest)
    return {"resolved": version, "lock": encode(fetched.entry)}
