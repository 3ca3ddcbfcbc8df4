"""Is the runtime that a kit brings along what `link.json` says, and does a link of it with the models hold together?

Called by `pipeline.steps.verify` for a product with a runtime. The files and the flags are taken from the finished kit;
what was linked is strict: every symbol that the models ask for must come from those very files or from the system.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import defined, undefined
from pipeline.documents.link_json import LinkedArchive, LinkedLibrary
from pipeline.errors import SlipwayError
from pipeline.files import sha256_path

from .closure import wanted_symbols
from .links import Flags, link, linker_for, missing_linker
from .report import Check, counted, failed, listed, not_proven, proven
from .subject import Kit, Library, runtime_members
from .system_symbols import LINKER_SYMBOLS, system_symbols


def check_runtime(kit: Kit, archive: LinkedArchive, libraries: Sequence[Library]) -> Iterator[Check]:
    """Check the runtime beside one archive of a kit, for each of its architectures.

    Args:
        kit: it.
        archive: one of the kit's.
        libraries: the models' archives in it.
    """
    if not archive.runtime:
        return
    problems = [problem for one in archive.runtime if (problem := _file_problem(kit.folder, one))]
    if problems:
        yield failed(f"runtime of {archive.name}", listed(problems), kit.again)
        return
    words = (*archive.linker_flags, *(flag for one in archive.runtime for flag in one.linker_flags))
    for library in libraries:
        members = [
            info
            for one in archive.runtime
            for info in runtime_members(kit.folder / one.archive, library.backend.arch, shared=one.shared)
        ]
        found = _linked(kit, replace(library, path=kit.folder / archive.archive), members, words)
        yield replace(found, name=f"runtime for {library.backend.name}")


def runtime_words(words: Sequence[str], archives: Sequence[Path]) -> tuple[list[str], list[str]]:
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


def _file_problem(folder: Path, one: LinkedLibrary) -> str | None:
    path = folder / one.archive
    if not path.is_file():
        return f"{one.archive} is not there"
    if sha256_path(path) != one.sha256:
        return f"{one.archive} is not what link.json says of it (sha256)"
    return None


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
