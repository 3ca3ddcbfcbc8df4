"""Step `layout`: the libraries and bundles of several backends in one tree, whose paths targets.yaml says.

The engine runs it with the archives of all backends of the product, and the bundles of its models. Libraries are made
of the very objects that are in the archives. Files of bundles are neither copied nor read: the store links to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.ar import Member, flavour_of, read_archive, write_archive
from pipeline.binary.objects import read_object
from pipeline.binary.tar_members import write_tar
from pipeline.documents.codec import dumps
from pipeline.documents.link_json import LaidOutFile, LaidOutLibrary, LinkJson
from pipeline.documents.manifest import ModelFile
from pipeline.documents.runtime import Modules
from pipeline.errors import StepError
from pipeline.files import Digest, sha256_bytes
from pipeline.kits.kit import read_kit
from pipeline.kits.link_json import link_json
from pipeline.matrix.cells import Backend, FilePlacement, Placement

from .shared_library import Models, link_shared


@dataclass(frozen=True)
class Params:
    """What the step is given: the product, the name of its archives, the backends in it, and what goes where.

    `runtime_libraries` have the TVM runtime on the device, where targets.yaml says so.
    """

    product: str
    library: str
    backends: tuple[Backend, ...]
    placements: tuple[Placement, ...]
    runtime_libraries: tuple[str, ...] | None = None
    files: tuple[FilePlacement, ...] | None = None


_Taken = dict[str, tuple[str, Digest | None]]
"""The tree as far as it is made: path in lower case -> whose file is there, and its digest if it is a link."""


def run(job: Job[Params]) -> Facts:
    """Write the libraries and `link.json`, and link to the files of bundles and other tasks.

    Raises:
        StepError: two different files would be at one place, or a library cannot be linked.
        ToolMissing: there is no linker for one.
    """
    params = job.params
    kit = read_kit(params.product, params.library, "layout", params.backends, job.inputs)
    archives = {archive.backend: archive for archive in kit.archives}
    members = {name: {one.name: one for one in read_archive(found.data)} for name, found in archives.items()}
    libraries = []
    for done, place in enumerate(params.placements):
        archive = archives[place.backend]
        model = next(one for one in archive.models if one.subject == place.owner)
        objects = [members[place.backend][name] for name in model.members]
        libraries.append(_library(job, archive.backends[0], place, objects))
        job.services.progress(done + 1, len(params.placements), "libraries")
    taken: _Taken = {one.library.casefold(): ("a library", None) for one in params.placements}
    for place in params.placements:
        role = roles.bundle(place.subject)
        if place.bundle is not None and role in job.inputs:
            for name, _ in job.files(role):
                _link(job, taken, role, name, f"{place.bundle}/{name}", owner=f"the bundle of {place.subject}")
    files = [found for one in params.files or () for found in _laid_out(job, taken, one)]
    document = replace(
        link_json(kit),
        archive="",
        archives=(),
        libraries=tuple(libraries),
        files=tuple(files) if params.files else None,
    )
    job.write(LinkJson.NAME, dumps(document))
    return {"libraries": len(libraries), "files": len(job.adopted), "bytes": sum(one.size for one in libraries)}


def member_name(name: str, prefix: str) -> str:
    """The name of an object in mlc's tar: the host object has no prefix there, the other one brings its own."""
    return "lib0.o" if name == f"{prefix}lib0.o" else name


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
            data = write_archive(objects, flavour_of(backend.format), place.library)
        else:
            name, runtime = place.library.rpartition("/")[2], job.params.runtime_libraries
            models = Models(name, backend, (place.prefix,), tuple(objects), runtime, by_path=True)
            data = link_shared(models, job.tools, job.out.parent, job.log)
            needed = read_object(data, place.library).needed
        job.write(place.library, data)
        digest = Digest(sha256_bytes(data), len(data))
    names = (place.subject, place.backend, place.prefix, place.library)
    return LaidOutLibrary(*names, place.form, digest.size, digest.sha256, needed, bundle)


def _module(job: Job[Params], place: Placement) -> Digest:
    role = roles.modules(place.backend)
    found = Modules.read(job.inputs[role])
    module = next((one for one in found.modules if one.subject == place.owner), None)
    if module is None:
        hint = "install emscripten, or let the library's path end in .tar or .a"
        raise StepError(f"there is no module of {place.owner} for {place.backend}: {found.lacks}", hint=hint)
    digest = job.digest_of(role, module.file)
    job.adopt(place.library, job.inputs[role] / module.file, digest)
    return digest


def _link(job: Job[Params], taken: _Taken, role: str, name: str, path: str, *, owner: str) -> Digest:
    """Link to a file of an input."""
    digest = job.digest_of(role, name)
    other, there = taken.setdefault(path.casefold(), (owner, digest))
    if there != digest:
        raise StepError(
            f"{owner} has a file {name}, and the layout puts {other} at {path}",
            hint="give one of them another name, or another directory",
        )
    job.adopt(path, job.inputs[role] / name, digest)
    return digest


def _laid_out(job: Job[Params], taken: _Taken, place: FilePlacement) -> Iterator[LaidOutFile]:
    """Link to the outputs of a task."""
    role = roles.of(roles.LAID_OUT, place.task)
    folder, names = job.inputs[role], [name for name, _ in job.files(role)]
    uncompiled = place.task.startswith("bundle:") and (folder / ModelFile.NAME).is_file()
    model = ModelFile.read(folder) if uncompiled else None
    if place.alone:
        names = [model.file] if model is not None else names
        if len(names) != 1:
            raise StepError(
                f"{place.task} has put out {len(names)} files, and {place.path} is the place of one",
                hint="name a `directory` for them, instead of `file`",
            )
    for name in names:
        path = place.path if place.alone else f"{place.path}/{name}"
        digest = _link(job, taken, role, name, path, owner=place.task)
        runtime = model.runtime if model is not None and name == model.file else None
        yield LaidOutFile(place.task, path, digest.size, digest.sha256, runtime)
