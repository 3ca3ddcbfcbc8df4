"""One binary of an app, read: which system it is for, what it shows to `nm` and `dlsym`, and its signatures of models.

`contents` calls `read_images` on every file of machine code. A fat file is one image a slice; a static archive is one
image, as if all of its members were loaded. The bytes are not kept.

The signatures that models and the runtime leave in machine code are symbols, and data that outlives a strip; `findings`
says what they prove of one model. What there is to find was seen in objects that TVM compiled:

* The constructor of the functions' object registers the context and each function by name, so the C strings
  `<prefix>__tvm_ffi__library_ctx` and `__tvm_ffi_<prefix><function>` are in that object's constants. The constructor of
  the blob's object registers it as `<prefix>__tvm_ffi__library_bin`. Nothing but the constructor refers to these
  strings: a linker that drops dead code keeps both or neither, and no strip touches them.
* They are in `__TEXT,__const` (Mach-O) or `.rodata` (ELF). The literals of an app's own source are in `__cstring`, so a
  call of `dlsym` with a model's name is not mistaken for the model.
* The blob comes right before its name, with no NUL between them: a name found there may have a few bytes of the blob
  before it. Its modules (`pipeline.binary.blobs`) each need a loader of their kind.
* A loader is in the runtime when its name is among the literals: `ffi.Module.load_from_bytes.relax.VMExecutable`, and
  `runtime.module.loadbinary_…` in TVM 0.21 and older. It is registered by a pointer to the name, so no compiler can
  fold the name into code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.binary import ar, fat, macho
from pipeline.binary.blobs import IDENTIFIER, LONGEST, Blob, every, find_blobs, identifier_after
from pipeline.binary.coff import is_coff
from pipeline.binary.macho import read_exports
from pipeline.binary.object_info import Format, LoadedSection, ObjectInfo
from pipeline.binary.objects import is_object, loaded_sections, read_object
from pipeline.binary.symbols import FUNCTION_PREFIX, GENERATIONS, REGISTRATIONS, Generation, c_name, defined, undefined
from pipeline.errors import FormatError

LOADERS = ("ffi.Module.load_from_bytes.", "runtime.module.loadbinary_")
"""What the name of a loader begins with, followed by the kind of the module: today, and up to TVM 0.21."""

ImageKind = Literal["executable", "dylib", "object", "archive"]


@dataclass(frozen=True, slots=True)
class Signatures:
    """What was found in one binary.

    Attributes:
        blob_names: (text, generation): names under which a blob is registered. The text may have bytes of the blob
            before the prefix.
        contexts: (prefix, generation) of every context that is registered.
        functions: C names, without `__tvm_ffi_`, of every function that is registered: `<prefix><function>`.
        blobs: those blobs whose header could be read.
        loaders: names of the loaders of modules, e.g. `ffi.Module.load_from_bytes.metal`.
        families: those of `LOADERS` that are mentioned at all.
    """

    blob_names: tuple[tuple[str, Generation], ...] = ()
    contexts: frozenset[tuple[str, Generation]] = frozenset()
    functions: frozenset[str] = frozenset()
    blobs: tuple[Blob, ...] = ()
    loaders: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.blob_names or self.contexts or self.functions)


@dataclass(frozen=True, slots=True)
class Image:
    """A slice of a binary; what `ObjectInfo` has, too, means the same here.

    Attributes:
        path: of its file inside the app.
        kind: an `archive` is not linked yet, nor is an `object`.
        platform: see `ObjectInfo`; of an archive the one that all members name, None where they differ.
        platforms: of an archive: every platform that a member names. Otherwise `platform`, where there is one.
        constructors: entries of the start-up table.
        listed: C names of the global definitions in the symbol table: what `nm -gU` prints.
        exported: C names that the loader and `dlsym` find.
        registrations: C names of registration functions (of any generation) that must come from another image.
        encrypted: by the App Store; its constants cannot be read.
        stored_at: see `containers.File`.
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
    """Read a file of machine code: one image for each processor. For `stored_at` see `containers.File`.

    Raises:
        FormatError: it is malformed, or of a format that no app for a phone or a desktop has.
    """
    if fat.is_fat(data):
        return [_image(piece.data, path, f"{path} ({piece.arch})") for piece in fat.read_fat(data, path)]
    return [_image(data, path, path, stored_at)]


def _image(data: bytes, path: str, name: str, stored_at: int | None = None) -> Image:
    if data.startswith(ar.MAGIC):
        members = [one for one in ar.read_archive(data, name, skip_apple_double=True) if is_object(one.data)]
        if not members:
            raise FormatError("holds no object files", where=name, hint="build the archive again")
        return _of_objects([(read_object(m.data, f"{name}({m.name})"), m.data) for m in members], path, "archive")
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


def find_signatures(sections: Iterable[LoadedSection]) -> Signatures:
    """Collect the signatures in a binary's loaded sections."""
    blob_names: list[tuple[str, Generation]] = []
    contexts: set[tuple[str, Generation]] = set()
    functions: set[str] = set()
    blobs: list[Blob] = []
    loaders: set[str] = set()
    families: set[str] = set()
    for section in sections:
        data = section.data
        for family in LOADERS:
            for at in every(data, family.encode()):
                families.add(family)
                loaders.add(family + identifier_after(data, at + len(family), also=b"."))
        if section.literals:
            continue
        for generation in GENERATIONS:
            blob_names += [(text, generation) for text in _names_before(data, generation.blob_suffix)]
            contexts.update((text, generation) for text in _names_before(data, generation.context_suffix))
        for at in every(data, FUNCTION_PREFIX.encode()):
            name = identifier_after(data, at + len(FUNCTION_PREFIX))
            if name and not name.startswith("_") and not (at and data[at - 1] in IDENTIFIER):
                functions.add(name)
        blobs += find_blobs(data)
    return Signatures(
        tuple(blob_names),
        frozenset(contexts),
        frozenset(functions),
        tuple(blobs),
        frozenset(loaders),
        frozenset(families),
    )


def _names_before(data: bytes, suffix: str) -> Iterator[str]:
    """What stands before each C string that ends in `suffix`, as far as it could belong to a name."""
    for at in every(data, suffix.encode() + b"\0"):
        start = at
        while start and at - start < LONGEST and data[start - 1] in IDENTIFIER:
            start -= 1
        if start < at:  # the runtime mentions the suffix alone
            yield data[start:at].decode()
