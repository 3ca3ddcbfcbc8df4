"""Does a link kit hold the archives that were proven, and do its own flags keep the models alive, with its runtime?

Called by `pipeline.steps.verify` for a product. The flags are taken from the finished files, `link.json` and the Xcode
settings, never from the code that wrote them: a slip in a template, ours or a user's, shows here and not in an app.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import defined, undefined
from pipeline.documents.link_json import LinkedArchive, LinkedModule, LinkJson
from pipeline.errors import FormatError, SlipwayError
from pipeline.files import hash_path
from pipeline.kits.runtime import FOLDER
from pipeline.native.wasm_imports import missing
from pipeline.nearest import listed
from pipeline.platforms import SDKS

from .closure import wanted_symbols
from .constructors import check_constructors
from .links import Flags, link, linker_for, missing_linker
from .members import check_pages
from .report import Check, counted, failed, not_proven, proven, settled
from .sources import check_sources
from .subject import Kit, Library, runtime_members, unlike
from .system_symbols import LINKER_SYMBOLS, system_symbols
from .xcconfig import Settings, linker_flags
from .xcframework import FrameworkSlice

_STRIP = {"STRIP_STYLE": "non-global", "STRIP_INSTALLED_PRODUCT": "NO"}
"""Settings without which an archived app loses the symbols that its checks look for."""

_POD_FLAG = re.compile(r"'(-Wl,[^']+)'")
"""A flag for the linker in the Ruby of a podspec."""


def check_kit(kit: Kit) -> tuple[list[Check], tuple[LinkedArchive, ...]]:
    """Ask about the archives, their runtimes and the modules that `link.json` tells of.

    Returns:
        The findings, and what `link.json` has of each archive.
    """
    try:
        found = LinkJson.read(kit.folder)
    except (OSError, FormatError) as error:
        return [failed("archives", f"link.json cannot be read: {error}", kit.again)], ()
    archives, modules = found.archives, found.modules
    asked = (
        _check_link_json(kit, archives),
        _check_runtimes(kit, archives),
        _check_modules(kit, modules),
        check_sources(kit, found),
    )
    return [_check_archives(kit, archives), *(check for checks in asked for check in checks)], archives


def _check_archives(kit: Kit, archives: Sequence[LinkedArchive]) -> Check:
    """`link.json` names an archive for every backend, and it is the proven one, to the byte where it is not fat."""
    problems = []
    for archive in archives:
        proven_ones = [hash_path(one.path) for one in _of_archive(kit, archive)]
        if what := unlike(kit.folder / archive.archive, archive.size, archive.sha256):
            problems.append(f"{archive.archive} {what}")
        elif len(archive.backends) == 1 and archive.sha256 not in proven_ones:
            problems.append(f"{archive.archive} is not the archive of {archive.backends[0].name} that was proven")
    named = {backend.name for archive in archives for backend in archive.backends}
    problems += [f"{one.backend.name} is in no archive of it" for one in kit.libraries if one.backend.name not in named]
    saw = f"{counted(len(archives), 'archive')}, the very bytes that were proven"
    return settled("archives", problems, saw, kit.again)


def _check_link_json(kit: Kit, archives: Sequence[LinkedArchive]) -> Iterator[Check]:
    """The linker flags of `link.json` keep every model alive, for every archive and architecture."""
    for archive in archives:
        for library in _of_archive(kit, archive):
            shipped = replace(library, path=kit.folder / archive.archive)
            yield from _try(kit, f"link.json for {library.backend.name}", shipped, archive.linker_flags)


def _check_runtimes(kit: Kit, archives: Sequence[LinkedArchive]) -> Iterator[Check]:
    """The runtime that the kit brings along is what `link.json` says, for every archive and architecture.

    It links with the models, and what was linked is strict: every symbol that the models ask for must come from those
    very files or from the system.
    """
    for archive in archives:
        if archive.runtime:
            yield from _check_runtime(kit, archive)


def _check_runtime(kit: Kit, archive: LinkedArchive) -> Iterator[Check]:
    beside = {one.archive: unlike(kit.folder / one.archive, one.size, one.sha256) for one in archive.runtime}
    problems = [f"{name} {what}" for name, what in beside.items() if what]
    if problems:
        yield failed(f"runtime of {archive.name}", listed(problems), kit.again)
        return
    words = (*archive.linker_flags, *(flag for one in archive.runtime for flag in one.linker_flags))
    for library in _of_archive(kit, archive):
        members = [
            info
            for one in archive.runtime
            for info in runtime_members(kit.folder / one.archive, library.backend.arch, shared=one.shared)
        ]
        found = _linked(kit, replace(library, path=kit.folder / archive.archive), members, words)
        yield replace(found, name=f"runtime for {library.backend.name}")


def _linked(kit: Kit, library: Library, members: Sequence[ObjectInfo], words: tuple[str, ...]) -> Check:
    """Link models and runtime together; nothing is offered but the system, and what the runtime itself needs of it."""
    linker = linker_for(library.backend, kit.tools)
    if linker is None:
        return not_proven("runtime", *missing_linker(library.backend))
    has = defined(members)
    wanted = wanted_symbols(library).keys() - system_symbols(library.backend.platform)
    nowhere = sorted(wanted - has)
    if nowhere:
        hint = "the check `runtime` of the backends has the hint: doit verify:" + library.backend.name
        return failed("runtime", f"the models ask for {listed(nowhere)}, which no library of the kit has", hint)
    offered = (system_symbols(library.backend.platform) | undefined(members)) - has - LINKER_SYMBOLS
    out = Path(tempfile.mkdtemp(prefix="runtime-", dir=kit.scratch)) / "linked"
    try:
        link(linker, library.backend, Flags(words), out, offered=offered, log=kit.log, cwd=kit.folder)
    except SlipwayError as error:
        return failed("runtime", f"models and runtime do not link together: {error.what}", error.hint or "see the log")
    info = read_object(out.read_bytes(), out.name)
    loaded = [one for one in members if one.kind == "dylib"]
    if left := sorted(wanted & undefined([info]) - defined(loaded)):
        return failed("runtime", f"linked, and {listed(left)} is still undefined", "take the flags of link.json")
    loads = {Path(name).name for name in info.needed}
    if dropped := [one.name for one in loaded if one.name not in loads]:
        return failed("runtime", f"what was linked does not load {listed(dropped)}", "take the flags of link.json")
    return proven("runtime", f"linked with the models; {counted(len(wanted), 'symbol')} of TVM's found in it")


def check_settings(kit: Kit, archives: Sequence[LinkedArchive], slices: Iterable[FrameworkSlice]) -> Iterator[Check]:
    """The Xcode settings keep every model alive, for every slice and architecture, with the paths they name."""
    file = kit.folder / f"{kit.product}.xcconfig"
    try:
        settings = Settings(file.read_text(encoding="utf-8"), file.name)
        targets = [_target(kit, settings, piece, library) for piece, library in _in_slices(kit, slices)]
    except (OSError, FormatError, ValueError) as error:
        yield failed("xcconfig", f"{file.name} cannot be read: {error}", kit.again)
        return
    for target in targets:
        name = f"xcconfig for {target.library.backend.name}"
        if target.runtime != (wanted := _runtime_of(kit, archives, target.library)):
            saw = f"the flags link {listed(target.runtime) or 'nothing'} of the runtime, not {listed(wanted)}"
            yield failed(f"runtime in {name}", saw, kit.again)
        if str(target.library.path) in target.words:
            yield from _try(kit, name, target.library, target.words)
        else:
            base = f"{kit.folder}/"
            named = [word.removeprefix(base) for word in target.words if word.endswith(".a")]
            saw = f"the flags name {listed(named) or 'no archive'}, not {str(target.library.path).removeprefix(base)}"
            yield failed(name, saw, kit.again)
        if wrong := [f"{key} is {value!r}" for key, value in target.strip.items() if value != _STRIP[key]]:
            yield failed(f"strip settings for {target.library.backend.name}", listed(wrong), kit.again)


_SRCROOT = "/SRCROOT"
"""Of an app, in whose place the folder here is put once words are told apart: a quote in its name is not the kit's."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What an Xcode target gets from the settings for one slice and architecture; `library` is the slice's archive.

    `words` are the linker's for the models, `runtime` those for the libraries beside them, relative to the kit.
    """

    library: Library
    words: tuple[str, ...]
    runtime: list[str]
    strip: Mapping[str, str]


def _target(kit: Kit, settings: Settings, piece: FrameworkSlice, library: Library) -> _Target:
    platform = library.backend.platform
    build = {"sdk": f"{SDKS[platform]}99.0", "arch": library.backend.arch, "config": "Release"}
    given = {"SRCROOT": _SRCROOT, "IS_MACCATALYST": "YES" if platform == "maccatalyst" else "NO"}
    shipped = replace(library, path=kit.folder / f"{kit.product}.xcframework" / piece.path)
    beside = [path for path in kit.folder.glob("*.xcframework/*/*.a") if path.parts[-3] != f"{kit.product}.xcframework"]
    written = linker_flags(settings.words("OTHER_LDFLAGS", build, given))
    words, runtime = _runtime_words([word.replace(_SRCROOT, str(kit.folder.parent)) for word in written], beside)
    return _Target(
        library=shipped,
        words=tuple(words),
        runtime=[word.removeprefix(f"{kit.folder}/") for word in runtime],
        strip={key: settings.value(key, build, given) for key in _STRIP},
    )


def _runtime_words(words: Sequence[str], archives: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Split linker flags into those of the models and those of the runtime's archives (with their `-force_load`)."""
    named = {str(path) for path in archives}
    models: list[str] = []
    runtime: list[str] = []
    for word in words:
        if word in named:
            if models and models[-1] == "-force_load":
                runtime.append(models.pop())
            runtime.append(word)
        else:
            models.append(word)
    return models, runtime


def _runtime_of(kit: Kit, archives: Iterable[LinkedArchive], shipped: Library) -> list[str]:
    """The linker flags of the runtime that goes with a slice's archive, by `link.json`."""
    of_slice = next((one for one in archives if kit.folder / one.archive == shipped.path), None)
    return [flag for one in (of_slice.runtime if of_slice is not None else ()) for flag in one.linker_flags]


def check_podspec(kit: Kit, slices: Iterable[FrameworkSlice]) -> Iterator[Check]:
    """The pod's flags keep every model alive, though they name no archive: CocoaPods copies slices where it likes."""
    file = kit.folder / f"{kit.product}.podspec"
    if not file.is_file():
        yield failed("podspec", f"{file.name} is not there", kit.again)
        return
    flags = linker_flags(_POD_FLAG.findall(file.read_text(encoding="utf-8")))
    for piece, library in _in_slices(kit, slices):
        shipped = kit.folder / f"{kit.product}.xcframework" / piece.path
        words = (*flags, str(shipped))
        yield from _try(kit, f"podspec for {library.backend.name}", replace(library, path=shipped), words)


def _in_slices(kit: Kit, slices: Iterable[FrameworkSlice]) -> Iterator[tuple[FrameworkSlice, Library]]:
    """Every proven archive with the slice it is in."""
    for piece in slices:
        for library in kit.libraries:
            if library.backend.platform == piece.platform and library.backend.arch in piece.architectures:
                yield piece, library


def _try(kit: Kit, name: str, library: Library, words: tuple[str, ...]) -> Iterator[Check]:
    """Link one archive of the kit with the kit's words, in the kit's folder."""
    linker = linker_for(library.backend, kit.tools)
    if linker is None:
        yield not_proven(name, *missing_linker(library.backend))
        return
    # What the archive needs from elsewhere was compared with the runtime when its backend was verified.
    offered = system_symbols(library.backend.platform) | wanted_symbols(library).keys()
    scratch = Path(tempfile.mkdtemp(prefix="link-", dir=kit.scratch))
    check, linked = check_constructors(
        library, linker, Flags(words), offered=offered, scratch=scratch, log=kit.log, cwd=kit.folder
    )
    hint = f"{kit.again}; or: {check.hint}" if check.hint else None
    yield replace(check, name=name, hint=hint)
    if linked is not None and library.backend.platform == "android":
        yield replace(check_pages(linked), name=f"pages of {name}")


def _of_archive(kit: Kit, archive: LinkedArchive) -> list[Library]:
    """The proven archives that went into a archive."""
    names = {backend.name for backend in archive.backends}
    found = [library for library in kit.libraries if library.backend.name in names]
    return [one for one in found if one.backend.arch in archive.architectures]


def _check_modules(kit: Kit, described: Sequence[LinkedModule]) -> Iterator[Check]:
    """The modules for pages are those that `link.json` tells of, and a page has all that they ask for.

    Yields:
        `modules` and, once those are the right ones, `imports of modules`; nothing where a kit has no modules.
    """
    present = {f"{FOLDER}/{path.name}" for path in kit.folder.glob(f"{FOLDER}/*.wasm")}
    if not described and not present:
        return
    wrong = {one.file: unlike(kit.folder / one.file, one.size, one.sha256) for one in described}
    problems = [f"{name} {what}" for name, what in wrong.items() if what]
    problems += [f"{name} is not in link.json" for name in sorted(present - wrong.keys())]
    saw = f"{counted(len(described), 'module')}, size and SHA-256 as in link.json"
    yield settled("modules", problems, saw, kit.rebuild)
    if not problems:
        yield _check_imports(kit, described)


def _check_imports(kit: Kit, described: Sequence[LinkedModule]) -> Check:
    """Whether every function that the modules leave to the page is one that a page has."""
    name, total, problems = "imports of modules", 0, []
    backends = sorted({one.backend for one in described})
    again = " && ".join(f"doit forget wasm:{backend} && doit wasm:{backend}" for backend in backends)
    hint = f"{again}; the checkout in `runtime.source` must be of the TVM that compiled the models"
    for one in described:
        try:
            module = read_object((kit.folder / one.file).read_bytes(), one.file)
        except FormatError as error:
            return failed(name, f"{one.file} cannot be read: {error}", kit.rebuild)
        total += sum(wanted.kind == "function" for wanted in module.imports)
        if nowhere := [wanted.name for wanted in missing(module)]:
            problems.append(f"{one.file} asks for {listed(nowhere)}, which no page has")
    return settled(name, problems, f"{total} functions, all of the page", hint)
