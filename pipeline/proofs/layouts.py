"""Does a layout hold what was proven: libraries of the archives' very objects, and the bundles of their models?

Called by `pipeline.steps.verify`. Reads the finished tree: `link.json` says what is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.binary.ar import read_archive
from pipeline.binary.blobs import find_blobs
from pipeline.binary.conformance import mismatch
from pipeline.binary.objects import loaded_sections, read_object
from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL, undefined
from pipeline.binary.tar_members import read_tar
from pipeline.documents.link_json import LaidOutFile, LaidOutLibrary, LinkJson
from pipeline.errors import FormatError
from pipeline.files import Digest
from pipeline.kits.link_flags import ANDROID_PAGE_SIZE, PAGED
from pipeline.nearest import listed

from .closure import wanted_symbols
from .constructors import survivors
from .report import Check, counted, failed, proven, settled
from .subject import Library, unlike
from .system_symbols import LINKER_SYMBOLS, system_symbols

_SYSTEM = frozenset({"libc.so", "libm.so", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "/usr/lib/libSystem.B.dylib"})
"""What the system has on each device; models ask for nothing else of it."""

_FORMS = {"tar": "tar", "archive": "archive", "shared": "shared object", "module": "module"}


@dataclass(frozen=True)
class Layout:
    """A layout and what went into it.

    Attributes:
        libraries: the proven archive of each backend, by name.
        members: subject and backend -> names of the model's objects in that archive.
        modules: subject and backend -> digest of the module that was linked.
        runtime: names of libraries that have the TVM runtime.
        bundles: subject -> digests of the files that its bundle has.
        files: task -> digests of its outputs that are in the tree.
    """

    folder: Path
    product: str
    libraries: Mapping[str, Library]
    members: Mapping[tuple[str, str], tuple[str, ...]]
    modules: Mapping[tuple[str, str], Digest]
    runtime: tuple[str, ...]
    bundles: Mapping[str, Mapping[str, Digest]]
    files: Mapping[str, tuple[Digest, ...]]
    digest_of: Callable[[str], Digest]


def check_layout(layout: Layout, wanted: Mapping[tuple[str, str], str]) -> Iterator[Check]:
    """Compare every library and every bundle with what was proven.

    `wanted` has subject and backend of each library that must be there -> the subject whose objects it has.

    Yields:
        `libraries`, `bundles` and `files`, each where there are any.
    """
    again = f"doit forget layout:{layout.product} && doit layout:{layout.product}"
    try:
        document = LinkJson.read(layout.folder)
    except (OSError, FormatError) as error:
        yield failed("libraries", f"link.json cannot be read: {error}", again)
        return
    described = document.libraries
    if described or wanted:
        yield _check_libraries(layout, described, wanted, again)
    yield from _check_bundles(layout, described, again)
    if layout.files:
        yield _check_files(layout, document.files or (), again)


def _check_libraries(
    layout: Layout, described: Sequence[LaidOutLibrary], wanted: Mapping[tuple[str, str], str], again: str
) -> Check:
    problems = [f"{one.file} {what}" for one in described for what in _problems(layout, one, wanted)]
    named = {(one.model, one.backend) for one in described}
    problems += [
        f"there is no library of {model} for {backend}" for model, backend in wanted if (model, backend) not in named
    ]
    forms = Counter(one.form for one in described)
    held = ", ".join(counted(number, _FORMS[form]) for form, number in sorted(forms.items()))
    return settled("libraries", problems, f"{held}: of the proven objects", again)


def _check_bundles(layout: Layout, described: Sequence[LaidOutLibrary], again: str) -> Iterator[Check]:
    """Every file of a bundle is where link.json says; their digests are known, and gigabytes need not be read."""
    places = sorted({(one.model, one.bundle) for one in described if one.bundle is not None})
    files = {f"{folder}/{name}": digest for model, folder in places for name, digest in layout.bundles[model].items()}
    wrong = [
        path for path, one in files.items() if not (layout.folder / path).is_file() or layout.digest_of(path) != one
    ]
    if wrong:
        yield failed("bundles", f"{listed(wrong)} is not what the bundle has", again)
    elif places:
        yield proven("bundles", f"{counted(len(files), 'file')} of {counted(len(places), 'bundle')}")


def _check_files(layout: Layout, described: Sequence[LaidOutFile], again: str) -> Check:
    """What each task has put out is where link.json says, all of it and nothing else."""
    wrong = [
        f"{one.file} is not what {one.task} has put out"
        for one in described
        if not (layout.folder / one.file).is_file()
        or layout.digest_of(one.file) != Digest(one.sha256, one.size)
        or Digest(one.sha256, one.size) not in layout.files.get(one.task, ())
    ]
    for task, digests in layout.files.items():
        there = {Digest(one.sha256, one.size) for one in described if one.task == task}
        if not set(digests) <= there:
            wrong.append(f"not all that {task} has put out is there")
    saw = f"{counted(len(described), 'file')} of {counted(len(layout.files), 'task')}"
    return settled("files", wrong, saw, again)


def _problems(layout: Layout, one: LaidOutLibrary, wanted: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """What is wrong with a library, as ends of sentences."""
    key, path = (one.model, one.backend), layout.folder / one.file
    if key not in wanted:
        yield f"is of {one.model} for {one.backend}, which nobody asked for"
    elif what := unlike(path, one.size, one.sha256):
        yield what
    elif one.form == "module":
        if Digest(one.sha256, one.size) != layout.modules[wanted[key], one.backend]:
            yield f"is not the module of {wanted[key]} that was linked"
    else:
        library = layout.libraries[one.backend]
        names = layout.members[wanted[key], one.backend]
        objects = {each.name: each.data for each in read_archive(library.path.read_bytes()) if each.name in names}
        try:
            if one.form == "shared":
                ours = _restricted(library, one.prefix, objects)
                yield from shared_problems(path, ours, objects.values(), layout.runtime)
                if (needed := read_object(path.read_bytes(), one.file).needed) != one.needed:
                    yield f"needs {listed(needed) or 'nothing'}, and link.json says {listed(one.needed) or 'nothing'}"
            else:
                yield from _not_the_objects(one, path.read_bytes(), objects)
        except FormatError as error:
            yield f"cannot be read: {error.what}"


def _not_the_objects(one: LaidOutLibrary, data: bytes, objects: Mapping[str, bytes]) -> Iterator[str]:
    members = read_tar(data, one.file) if one.form == "tar" else read_archive(data, one.file)
    # Archives of Darwin pad their members.
    if sorted(member.data.rstrip(b"\n") for member in members) != sorted(
        each.rstrip(b"\n") for each in objects.values()
    ):
        yield f"does not hold the objects of {one.model} that were proven"


def _restricted(library: Library, prefix: str, objects: Mapping[str, bytes]) -> Library:
    """The part of an archive that is about one model."""
    models = tuple(model for model in library.models if model.prefix == prefix)
    members = tuple(read_object(content, name) for name, content in objects.items())
    return replace(library, models=models, members=members)


def shared_problems(path: Path, ours: Library, objects: Iterable[bytes], runtime: Iterable[str]) -> Iterator[str]:
    """What keeps a shared library from being the proven objects of our models, and from being loaded.

    `runtime` are names of libraries that have the TVM runtime.
    """
    backend, data = ours.backend, path.read_bytes()
    found = survivors(ours, path)
    if (what := mismatch(found.info, backend, kind="dylib")) is not None:
        yield what
    if found.constructors != (whole := CONSTRUCTORS_PER_MODEL * len(ours.models)):
        yield f"has {found.constructors} of {whole} constructors"
    yield from (f"lost {part} of {model}" for model, part in found.lost.items())
    for section in (section for content in objects for section in loaded_sections(content, path.name)):
        for blob in find_blobs(section.data):
            if section.data[slice(*blob.span)] not in data:
                yield f"does not hold the blob of {blob.prefix}"
    if strange := sorted(
        undefined([found.info], weak=False)
        - wanted_symbols(ours).keys()
        - system_symbols(backend.platform)
        - LINKER_SYMBOLS
    ):
        yield f"asks for {listed(strange)}, which its objects do not"
    having = {pattern.format(name) for name in runtime for pattern in ("lib{}.so", "@rpath/lib{}.dylib")}
    if unknown := sorted(set(found.info.needed) - having - _SYSTEM):
        yield f"needs {listed(unknown)}, which nobody declared"
    alignment = found.info.load_alignment
    if backend.format == "elf" and backend.arch in PAGED and (alignment or 0) < ANDROID_PAGE_SIZE:
        yield f"has LOAD segments aligned to {alignment}, and devices with 16 KiB pages refuse that"
