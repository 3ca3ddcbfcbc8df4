"""The runtime in a toolchain's packages of TVM: its libraries, and its sources, laid out as a checkout is.

The package has all sources of the web runtime, less a few headers, which are in `web_headers/`: written for what these
sources ask of them, and good for the versions that say so. `find` runs in the toolchain's interpreter; it imports
nothing of the packages, so it answers in milliseconds and for any version.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pipeline.action import Job
from pipeline.errors import StepError

from .source_tree import SourceTree, read_tree

PACKAGE_DATA = "native/web_headers"

HEADERS = Path(__file__).parent / "web_headers"
PACKAGES = {"apache-tvm": "tvm", "apache-tvm-ffi": "tvm_ffi"}
"""A package as the index knows it -> as Python does, which is its directory and has libraries in `lib`."""

VERSIONS = ("0.27.0.post1",)
"""Releases of apache-tvm that the headers were tried with."""

_PARTS = {
    "tvm": {"include": "include", "web/emcc": "web/emcc", "src/runtime": "src/runtime"},
    "tvm_ffi": {"include": "3rdparty/tvm-ffi/include", "src": "3rdparty/tvm-ffi/src"},
}
"""Package -> its directories, and where a checkout has them."""


@dataclass(frozen=True)
class Packages:
    """TVM's packages in a toolchain, as far as they are there.

    Attributes:
        folders: a package as Python knows it -> its directory.
        versions: a package as the index knows it -> its version.
    """

    folders: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def version(self) -> str | None:
        """Of TVM."""
        return self.versions.get("apache-tvm")


def ask(job: Job[object], toolchain: str) -> Packages:
    """The packages of a toolchain."""
    return job.services.worker(toolchain).call(partial(find), log=job.log)


def find() -> Packages:
    """The packages of the interpreter that runs this."""
    folders: dict[str, str] = {}
    versions: dict[str, str] = {}
    for distribution, package in PACKAGES.items():
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            folders[package] = spec.submodule_search_locations[0]
        with suppress(metadata.PackageNotFoundError):
            versions[distribution] = metadata.version(distribution)
    return Packages(folders, versions)


def libraries(found: Packages) -> dict[str, str]:
    """Paths of the runtime's shared libraries, by name; a library that is not there is left out.

    Wheels keep them under `<package>/lib/`, older ones in the package itself, and a source tree in `build/` or
    `build/lib/` beside `python/`. Before tvm-ffi was a package of its own, both came with `tvm`.
    """
    ending = "dylib" if sys.platform == "darwin" else "so"
    paths: dict[str, str] = {}
    for library, package in (("tvm_runtime", "tvm"), ("tvm_ffi", "tvm_ffi")):
        homes = [Path(found.folders[name]) for name in (package, "tvm") if name in found.folders]
        folders = (folder for home in homes for folder in (home / "lib", home, *_built(home.parents[1])))
        if path := next(filter(Path.is_file, (folder / f"lib{library}.{ending}" for folder in folders)), None):
            paths[library] = str(path)
    return paths


def _built(checkout: Path) -> tuple[Path, Path]:
    return checkout / "build" / "lib", checkout / "build"


def includes(found: Packages) -> list[str]:
    """Flags for the headers of the packages."""
    return [f"-I{folder}/include" for folder in found.folders.values()]


def lay_out(found: Packages, folder: Path) -> SourceTree:
    """Copy the sources and the headers into a folder.

    Raises:
        StepError: the toolchain has no such package, or one of another release.
    """
    version = found.version
    if version not in VERSIONS or any(package not in found.folders for package in _PARTS):
        has = f"the toolchain has apache-tvm {version}" if version else "the toolchain has no package apache-tvm"
        raise StepError(
            f"{has}, and `wheel` can take the web runtime from {', '.join(VERSIONS)} alone",
            hint="name a checkout of the same release in `runtime`: `source:` instead of `wheel:` in targets.yaml",
        )
    shutil.rmtree(folder, ignore_errors=True)
    for package, parts in _PARTS.items():
        for inside, place in parts.items():
            source = Path(found.folders[package], inside)
            if not source.is_dir():
                raise StepError(
                    f"the package {package} has no {inside}", where=source, hint="install the toolchain's packages anew"
                )
            shutil.copytree(source, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HEADERS, folder, dirs_exist_ok=True)
    return read_tree(folder)
