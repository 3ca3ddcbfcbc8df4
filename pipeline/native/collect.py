"""Puts the static libraries of a runtime in order: checked against the backend, written with the same bytes each time.

The step `runtime` calls it with what CMake made, or with archives that somebody else built.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from pipeline.binary.ar import Member, flavour_of, read_archive, write_archive
from pipeline.binary.conformance import mismatch
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import is_object, read_object
from pipeline.binary.symbols import REGISTRATIONS, defined
from pipeline.documents.runtime import LibraryFile
from pipeline.errors import StepError
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend

from .libraries import REGISTERING

Library = tuple[LibraryFile, bytes]
"""A static library of a runtime: its entry in `runtime.json`, and the archive."""


def from_archive(name: str, path: Path, backend: Backend) -> Library:
    """Read an archive that a build, or somebody else, made.

    Raises:
        StepError: it is not there, or not for this backend.
        FormatError: it is malformed.
    """
    if not path.is_file():
        raise StepError(f"lib{name}.a was not made", where=path, hint="see the log of the build")
    return _library(name, read_archive(path.read_bytes(), path.name, skip_apple_double=True), backend)


def from_objects(name: str, files: Sequence[Path], backend: Backend) -> Library:
    """Make an archive of objects.

    Raises:
        StepError: one is not there, or not for this backend.
        FormatError: one is malformed.
    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise StepError(f"{missing[0].name} of {name} was not made", where=missing[0], hint="see the log of the build")
    return _library(name, [Member(file.name, file.read_bytes()) for file in files], backend)


def _library(name: str, members: Iterable[Member], backend: Backend) -> Library:
    infos: list[ObjectInfo] = []
    kept: list[Member] = []
    taken: set[str] = set()
    for member in members:
        if not is_object(member.data):  # cargo leaves metadata of its own in there
            continue
        info = read_object(member.data, f"{name}({member.name})")
        problem = mismatch(info, backend, older=True)
        if problem is not None:
            raise StepError(
                f"{member.name} of lib{name}.a {problem}",
                hint=f"build it for {backend.triple}; a `prebuilt` archive must be of that very system",
            )
        infos.append(info)
        kept.append(Member(_unique(member.name, taken), member.data))
    if not kept:
        raise StepError(f"lib{name}.a holds no objects", hint="see the log of the build")
    file = f"lib{name}.a"
    data = write_archive(kept, flavour_of(backend.format), file)
    registrations = tuple(sorted(defined(infos) & REGISTRATIONS))
    return LibraryFile(name, file, sha256_bytes(data), len(data), name in REGISTERING, registrations), data


def _unique(name: str, taken: set[str]) -> str:
    """A name no other member has: two sources of one name in two folders make two members of one name."""
    plain = PurePosixPath(name)
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{plain.stem}-{number}{plain.suffix}"
    taken.add(unique)
    return unique
