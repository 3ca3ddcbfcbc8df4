"""Step `runtime` for a packaged runtime: TVM's shared libraries for one backend, and the headers that go with them.

Those of the toolchain itself for this machine, else those of its package for the backend's, which `wheel` has fetched.
Kits bring them along, so that nothing else has to be linked or installed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.conformance import mismatch
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import REGISTRATIONS, defined
from pipeline.documents.codec import dumps
from pipeline.documents.runtime import HEADERS, LibraryFile, RuntimeManifest
from pipeline.errors import StepError
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend
from pipeline.native import wheel

_LIBRARIES = ("tvm_runtime", "tvm_ffi")
_OF_DEVICE = {"metal": ("tvm_runtime_metal",)}
"""Kind of device -> what the package has for it in libraries of their own, which nothing refers to."""

_OTHERWISE = "build the runtime from a checkout: `source:` instead of `wheel:` in `runtime`, in targets.yaml"


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        backend: without `kernels`, which no runtime depends on.
        toolchain: whose version it has.
        own: whether it is that of the toolchain itself.
    """

    backend: Backend
    toolchain: str
    own: bool


def run(job: Job[Params]) -> Facts:
    """Write the libraries, `runtime.json`, and the folder `include`.

    Returns:
        Facts: `libraries`, `bytes` and `tvm`, the version.

    Raises:
        StepError: the toolchain has no such package, or what is in it does not run on the backend.
    """
    backend = job.params.backend
    found = wheel.ask(job, job.params.toolchain)
    if missing := [package for package, folder in wheel.PACKAGES.items() if folder not in found.folders]:
        what = f"toolchain {job.params.toolchain} has no package {missing[0]} to take the runtime from"
        raise StepError(what, hint=_OTHERWISE)
    packages = [Path(folder) for folder in found.folders.values()]
    own = [folder / "lib" for folder in packages]
    folders = own if job.params.own else [path for _, path in roles.all_of(roles.WHEEL, job.inputs)]
    names = (*_OF_DEVICE.get(backend.device_kind, ()), *_LIBRARIES)
    libraries = tuple(_library(job, name, folders) for name in names)
    for folder in packages:
        for path in sorted((folder / HEADERS).rglob("*.h")):
            if not path.name.startswith("tvm_ffi_python"):
                place = job.out / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
    job.write(RuntimeManifest.NAME, dumps(RuntimeManifest(backend, None, libraries, found.version)))
    size = sum(one.size for one in libraries)
    return {"libraries": [one.name for one in libraries], "bytes": size, "tvm": found.version}


def _library(job: Job[Params], name: str, folders: list[Path]) -> LibraryFile:
    backend = job.params.backend
    file = f"lib{name}.{'dylib' if backend.format == 'macho' else 'so'}"
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if path is None:
        raise StepError(f"TVM's package for {backend.name} has no {file}", hint=_OTHERWISE)
    data = path.read_bytes()
    info = read_object(data, file)
    if problem := mismatch(info, backend, older=True, kind="dylib"):
        raise StepError(f"{file} of TVM's package {problem}", hint=f"correct the backend, or {_OTHERWISE}")
    job.write(file, data)
    registrations = tuple(sorted(defined([info]) & REGISTRATIONS))
    return LibraryFile(name, file, sha256_bytes(data), len(data), whole=False, registrations=registrations, shared=True)
