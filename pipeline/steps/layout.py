"""Step `layout`: the libraries and bundles of several backends in one tree, whose paths targets.yaml says.

The engine runs it with the archives of all backends of the product, and the bundles of its models. Libraries are made
of the very objects that are in the archives. Files of bundles are neither copied nor read: the store links to them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.ar import Member, read_archive, write_archive
from pipeline.binary.objects import read_object
from pipeline.binary.tar_members import write_tar
from pipeline.documents.codec import dumps
from pipeline.documents.link_json import NAME, LaidOutLibrary
from pipeline.documents.runtime import read_modules_json
from pipeline.errors import StepError
from pipeline.files import Digest, sha256_bytes
from pipeline.kits.kit import KitArchive, read_kit
from pipeline.kits.link_json import link_json
from pipeline.matrix.cells import Backend
from pipeline.matrix.placement import Placement

from .shared_library import Models, link_shared


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        product: its name.
        library: name of the archives.
        backends: in it.
        placements: what goes where.
        runtime_libraries: shared libraries that have the TVM runtime on the device, where targets.yaml says so.
    """

    product: str
    library: str
    backends: tuple[Backend, ...]
    placements: tuple[Placement, ...]
    runtime_libraries: tuple[str, ...] | None = None


def run(job: Job[Params]) -> Facts:
    """Write the libraries and `link.json`, and link to the files of the bundles.

    Raises:
        StepError: a library would be where a bundle has a file, or one cannot be linked.
        ToolMissing: there is no linker for one.
    """
    params = job.params
    kit = read_kit(params.product, params.library, "layout", params.backends, job.inputs)
    archives = {archive.backend: archive for archive in kit.archives}
    members = {name: {one.name: one for one in read_archive(found.data)} for name, found in archives.items()}
    libraries = []
    for done, place in enumerate(params.placements):
        objects = [members[place.backend][name] for name in _names(archives[place.backend], place)]
        libraries.append(_library(job, archives[place.backend].backends[0], place, objects))
        job.services.progress(done + 1, len(params.placements), "libraries")
    bundled = _bundles(job, {one.library: one for one in params.placements})
    document = replace(link_json(kit), archive="", archives=(), libraries=tuple(libraries))
    job.write(NAME, dumps(document))
    return {"libraries": len(libraries), "files": bundled, "bytes": sum(one.size for one in libraries)}


def member_name(name: str, prefix: str) -> str:
    """The name of an object in mlc's tar: the host object has no prefix there, the other one brings its own."""
    return "lib0.o" if name == f"{prefix}lib0.o" else name


def _names(archive: KitArchive, place: Placement) -> tuple[str, ...]:
    return next(one.document.members for one in archive.models if one.subject == place.owner)


def _library(job: Job[Params], backend: Backend, place: Placement, objects: list[Member]) -> LaidOutLibrary:
    """Write or link to the library of one cell."""
    bundle = place.bundle if roles.bundle(place.subject) in job.inputs else None
    needed: tuple[str, ...] = ()
    if place.form == "module":
        digest = _module(job, place)
    else:
        if place.form == "tar":
            data = write_tar(Member(member_name(one.name, place.prefix), one.data) for one in objects)
        elif place.form == "archive":
            data = write_archive(objects, "darwin" if backend.format == "macho" else "gnu", place.library)
        else:
            data = _shared(job, backend, place, objects)
            needed = read_object(data, place.library).needed
        job.write(place.library, data)
        digest = Digest(sha256_bytes(data), len(data))
    names = (place.subject, place.backend, place.prefix, place.library)
    return LaidOutLibrary(*names, place.form, digest.size, digest.sha256, needed, bundle)


def _shared(job: Job[Params], backend: Backend, place: Placement, objects: list[Member]) -> bytes:
    name = place.library.rpartition("/")[2]
    models = Models(name, backend, (place.prefix,), tuple(objects), job.params.runtime_libraries, by_path=True)
    with tempfile.TemporaryDirectory(prefix="layout-", dir=job.out.parent) as scratch:
        return link_shared(models, job.tools, Path(scratch), job.log)


def _module(job: Job[Params], place: Placement) -> Digest:
    role = roles.modules(place.backend)
    found = read_modules_json(job.inputs[role])
    module = next((one for one in found.modules if one.subject == place.owner), None)
    if module is None:
        hint = "install emscripten, or let the library's path end in .tar or .a"
        raise StepError(f"there is no module of {place.owner} for {place.backend}: {found.lacks}", hint=hint)
    digest = job.digest_of(role, module.file)
    job.adopt(place.library, job.inputs[role] / module.file, digest)
    return digest


def _bundles(job: Job[Params], libraries: Mapping[str, Placement]) -> int:
    """Put each model's bundle where it is wanted; return the number of files."""
    taken = {path.casefold() for path in libraries}
    adopted: set[str] = set()
    for place in job.params.placements:
        role = roles.bundle(place.subject)
        if place.bundle is None or role not in job.inputs:
            continue
        for name, file in job.files(role):
            path = f"{place.bundle}/{name}"
            if path.casefold() in taken:
                raise StepError(
                    f"the bundle of {place.subject} has a file {name}, and the layout puts a library at {path}",
                    hint="give the library another name, or the bundle a directory of its own",
                )
            job.adopt(path, file, job.digest_of(role, name))
            adopted.add(path)
    return len(adopted)
