"""Is the runtime that a kit brings along what `link.json` says, and does a link of it with the models hold together?

Called by `pipeline.steps.verify` for a product with a runtime. The files and the flags are taken from the finished kit;
what was linked is strict: every symbol that the models ask for must come from those very files or from the system.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.action import Tool
from pipeline.binary import fat
from pipeline.binary.ar import read_archive
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import is_object, read_object
from pipeline.binary.symbols import c_name
from pipeline.documents.link_json import LinkedArchive, LinkedLibrary
from pipeline.errors import SlipwayError
from pipeline.files import sha256_path

from .closure import wanted_symbols
from .links import Flags, link, linker_for, missing_linker
from .report import Check, counted, failed, listed, not_proven, proven
from .subject import Library, same_architecture
from .system_symbols import LINKER_SYMBOLS, system_symbols

_AGAIN = "doit forget linkkit:{0} && doit linkkit:{0}; a template of your own must keep the flags of ours"


def check_runtime(
    product: str,
    folder: Path,
    archive: LinkedArchive,
    libraries: Sequence[Library],
    *,
    tools: Mapping[str, Tool | None],
    scratch: Path,
    log: Path,
) -> Iterator[Check]:
    """Check the runtime beside one archive of a kit, for each of its architectures.

    Args:
        product: its name.
        folder: the kit.
        archive: one of the kit's.
        libraries: the models' archives in it.
        tools: linkers by name.
        scratch: a directory for what is linked.
        log: gets the command lines.
    """
    listed_ = archive.runtime
    if not listed_:
        return
    problems = [problem for one in listed_ if (problem := _file_problem(folder, one))]
    name = f"runtime of {archive.name}"
    if problems:
        yield failed(name, listed(problems), _AGAIN.format(product))
        return
    words = [*archive.linker_flags, *(flag for one in listed_ for flag in one.linker_flags)]
    for library in libraries:
        shipped = replace(library, path=folder / archive.archive)
        members = [info for one in listed_ for info in _members(folder / one.archive, library, shared=one.shared)]
        found = _linked(shipped, members, words, tools=tools, scratch=scratch, log=log, cwd=folder)
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


def _members(path: Path, library: Library, *, shared: bool) -> list[ObjectInfo]:
    """The objects of an archive that are for the library's architecture; a shared library itself."""
    data = path.read_bytes()
    if shared:
        return [read_object(data, path.name)]
    if fat.is_fat(data):
        thins = fat.read_fat(data, path.name)
        data = next(thin.data for thin in thins if same_architecture(thin.arch, library.backend.arch))
    members = read_archive(data, path.name)
    return [read_object(one.data, f"{path.name}({one.name})") for one in members if is_object(one.data)]


def _linked(
    library: Library,
    members: Sequence[ObjectInfo],
    words: Sequence[str],
    *,
    tools: Mapping[str, Tool | None],
    scratch: Path,
    log: Path,
    cwd: Path,
) -> Check:
    """Link models and runtime together; nothing is offered but the system, and what the runtime itself needs of it."""
    linker = linker_for(library.backend, tools)
    if linker is None:
        return not_proven("runtime", *missing_linker(library.backend))
    defined, needed = _names(members, defined=True), _names(members, defined=False)
    wanted = wanted_symbols(library).keys() - system_symbols(library.backend.platform)
    nowhere = sorted(wanted - defined)
    if nowhere:
        hint = "the check `runtime` of the backends has the hint: doit verify:" + library.backend.name
        return failed("runtime", f"the models ask for {listed(nowhere)}, which no library of the kit has", hint)
    offered = (system_symbols(library.backend.platform) | needed) - defined
    out = Path(tempfile.mkdtemp(prefix="runtime-", dir=scratch)) / "linked"
    try:
        link(linker, library.backend, Flags(tuple(words)), out, offered=offered, log=log, cwd=cwd)
    except SlipwayError as error:
        return failed("runtime", f"models and runtime do not link together: {error.what}", error.hint or "see the log")
    info = read_object(out.read_bytes(), out.name)
    loaded = [one for one in members if one.kind == "dylib"]
    open_ = {c_name(symbol.name, info.format) for symbol in info.undefined} - _names(loaded, defined=True)
    if left := sorted(wanted & open_):
        return failed("runtime", f"linked, and {listed(left)} is still undefined", "take the flags of link.json")
    loads = {Path(name).name for name in info.needed}
    if dropped := [one.name for one in loaded if one.name not in loads]:
        return failed("runtime", f"what was linked does not load {listed(dropped)}", "take the flags of link.json")
    return proven("runtime", f"linked with the models; {counted(len(wanted), 'symbol')} of TVM's found in it")


def _names(members: Sequence[ObjectInfo], *, defined: bool) -> frozenset[str]:
    return frozenset(
        name
        for info in members
        for symbol in (info.defined if defined else info.undefined)
        if (name := c_name(symbol.name, info.format)) not in LINKER_SYMBOLS
    )
