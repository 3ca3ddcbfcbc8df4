"""One binary of an app, read: which system it is for, what it shows to `nm` and `dlsym`, and its signatures of models.

`contents` calls `read_images` on every file of machine code. A fat file is one image a slice; a static archive is one
image, as if all of its members were loaded. The bytes are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.binary import ar, fat, macho
from pipeline.binary.coff import is_coff
from pipeline.binary.macho import read_exports
from pipeline.binary.object_info import Format, LoadedSection, ObjectInfo
from pipeline.binary.objects import is_object, loaded_sections, read_object
from pipeline.binary.symbols import REGISTRATIONS, c_name, defined, undefined
from pipeline.errors import FormatError

from .signatures import Signatures, find_signatures

ImageKind = Literal["executable", "dylib", "object", "archive"]


@dataclass(frozen=True, slots=True)
class Image:
    """A slice of a binary.

    Attributes:
        path: of its file inside the app.
        arch: as in `ObjectInfo`.
        format: `macho` or `elf`.
        kind: an `archive` is not linked yet, nor is an `object`.
        platform: see `ObjectInfo`; of an archive the one that all members name, None where they differ.
        platforms: of an archive: every platform that a member names. Otherwise `platform`, where there is one.
        minimum_os: see `ObjectInfo`.
        constructors: entries of the start-up table.
        listed: C names of the global definitions in the symbol table: what `nm -gU` prints.
        exported: C names that the loader and `dlsym` find.
        registrations: C names of registration functions (of any generation) that must come from another image.
        needed: libraries it loads.
        encrypted: by the App Store; its constants cannot be read.
        load_alignment: see `ObjectInfo`.
        stored_at: see `containers.File`.
        signatures: of models and of the runtime.
    """

    path: str
    arch: str
    format: Format
    kind: ImageKind
    platform: str | None
    platforms: frozenset[str]
    minimum_os: str | None
    constructors: int | None
    listed: frozenset[str] = field(repr=False)
    exported: frozenset[str] = field(repr=False)
    registrations: frozenset[str]
    needed: tuple[str, ...]
    encrypted: bool
    signatures: Signatures = field(repr=False)
    load_alignment: int | None = None
    stored_at: int | None = None

    @property
    def linked(self) -> bool:
        """Whether a linker made it, so that what is missing now stays missing."""
        return self.kind in {"executable", "dylib"}


def looks_like_code(head: bytes) -> bool:
    """Whether a file's first bytes are those of an object, an image, a fat file or a static archive.

    What is for Windows is no code of these apps: those made with .NET are full of such files, which hold none.
    """
    return (is_object(head) and not is_coff(head)) or fat.is_fat(head) or head.startswith(ar.MAGIC)


def read_images(data: bytes, path: str, stored_at: int | None = None) -> list[Image]:
    """Read a file of machine code: one image for each processor.

    Args:
        data: the whole file.
        path: its path inside the app.
        stored_at: see `containers.File`.

    Raises:
        FormatError: it is malformed, or of a format that no app for a phone or a desktop has.
    """
    if fat.is_fat(data):
        return [_image(piece.data, path, f"{path} ({piece.arch})") for piece in fat.read_fat(data, path)]
    return [_image(data, path, path, stored_at)]


def _image(data: bytes, path: str, name: str, stored_at: int | None = None) -> Image:
    if data.startswith(ar.MAGIC):
        return _archive(data, path, name)
    info = read_object(data, name)
    if info.format == "wasm":
        raise FormatError("is WebAssembly", where=name, hint="doit verify:<backend> checks the modules for browsers")
    if info.format == "coff":
        raise FormatError("is for Windows", where=name, hint="doit verify:<backend> checks the archives for Windows")
    if info.kind == "object":
        return _of_objects([(info, data)], path, "object")
    is_macho = info.format == "macho"
    return replace(
        _made([info], path, info.kind, loaded_sections(data, name)),
        exported=frozenset(c_name(one, "macho") for one in read_exports(data, name)) if is_macho else defined([info]),
        needed=info.needed,
        encrypted=is_macho and macho.is_encrypted(data, name),
        load_alignment=info.load_alignment,
        stored_at=stored_at,
    )


def _archive(data: bytes, path: str, name: str) -> Image:
    members = [member for member in ar.read_archive(data, name, skip_apple_double=True) if is_object(member.data)]
    if not members:
        raise FormatError("holds no object files", where=name, hint="build the archive again")
    return _of_objects([(read_object(m.data, f"{name}({m.name})"), m.data) for m in members], path, "archive")


def _of_objects(objects: list[tuple[ObjectInfo, bytes]], path: str, kind: ImageKind) -> Image:
    """Objects as if all of them were linked. What an object without a constructor mentions is never registered."""
    loaded = (section for info, data in objects if info.constructors for section in loaded_sections(data, info.name))
    return _made([info for info, _ in objects], path, kind, loaded)


def _made(infos: list[ObjectInfo], path: str, kind: ImageKind, loaded: Iterable[LoadedSection]) -> Image:
    listed = defined(infos)
    platforms = frozenset(info.platform for info in infos if info.platform)
    minimum = {info.minimum_os for info in infos}
    return Image(
        path=path,
        arch=infos[0].arch,
        format=infos[0].format,
        kind=kind,
        platform=next(iter(platforms)) if len(platforms) == 1 else None,
        platforms=platforms,
        minimum_os=minimum.pop() if len(minimum) == 1 else None,
        constructors=sum(info.constructors or 0 for info in infos),
        listed=listed,
        exported=listed,
        registrations=REGISTRATIONS & undefined(infos),
        needed=(),
        encrypted=False,
        signatures=find_signatures(loaded),
    )
