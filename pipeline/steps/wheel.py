"""Step `wheel`: the shared library of TVM's runtime for another machine, out of the package for that machine.

The runner `qemu` links with it. The package is of the very version that the toolchain has, comes through the user's pip
and is pinned in `slipway.lock`. Where nothing here could run it, nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pipeline.action import Facts, Job, Json
from pipeline.errors import StepError
from pipeline.native import wheel
from pipeline.weights.entry import identity
from pipeline.weights.fetch import fetch

PACKAGES = {"apache-tvm": "tvm/lib/libtvm_runtime.so", "apache-tvm-ffi": "tvm_ffi/lib/libtvm_ffi.so"}
"""Package -> the one file of it that is wanted."""


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        package: one of `PACKAGES`.
        platform: as weights of kind `package` know it: `linux-arm64`.
        toolchain: whose version it must have.
        lock: its entry of slipway.lock; None on first sight.
    """

    package: str
    platform: str
    toolchain: str
    lock: Mapping[str, Json] | None


def run(job: Job[Params]) -> Facts:
    """Have the library as the output, under its own name; no output where a tool to run it is missing.

    Raises:
        DownloadError: it cannot be had, or is not what the lock promises.
        StepError: the lock pins another version than the toolchain has.
    """
    params = job.params
    if missing := [name for name, tool in job.tools.items() if tool is None]:
        job.write("missing.txt", "\n".join(missing) + "\n")
        return {"lacks": missing}
    versions = job.services.worker(params.toolchain).call(partial(wheel.versions), log=job.log)
    if params.package not in versions:
        raise StepError(f"toolchain {params.toolchain} has no package {params.package}", hint="install it there")
    version, member = versions[params.package], PACKAGES[params.package]
    source = {
        "kind": "package",
        "package": params.package,
        "version": version,
        "platform": params.platform,
        "files": [member],
    }
    name = f"{params.package}@{params.platform}"
    if params.lock is not None and params.lock["source"] != identity(source):
        raise StepError(
            f"slipway.lock pins {params.package} {params.lock['resolved']} for {params.platform}, and toolchain "
            f"{params.toolchain} has {version}",
            hint=f"delete the entry {name!r} from slipway.lock and run doit again",
        )

    def report(done: float, total: float | None) -> None:
        job.services.progress(done, total, "bytes")

    fetched = fetch(name, source, locked=params.lock, path=None, out=job.out, log=job.log, progress=report)
    (path,) = fetched.files
    job.adopt(member.rpartition("/")[2], fetched.files[path], fetched.entry.files[path])
    return {"resolved": version, "lock": fetched.entry.to_json()}
