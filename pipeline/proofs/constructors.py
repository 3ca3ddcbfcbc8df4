"""Does every model survive a link that removes dead code, and do the flags deserve the credit?

Called by `pipeline.steps.verify` for a backend and by `kits` for a product. Links twice: with the flags under test,
where both constructors of every model must be left, and without any, where none may be. A negative
control that fails says that the link proves nothing: some linkers accept the flags and ignore them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL, FUNCTION_PREFIX, defined, library_bin
from pipeline.errors import SlipwayError
from pipeline.nearest import listed

from .links import Flags, Linker, link, no_flags
from .report import Check, failed, proven
from .subject import Library


@dataclass(frozen=True, slots=True)
class Survivors:
    """What a linked file still holds.

    Attributes:
        constructors: entries that run at start-up; None where they cannot be counted.
        lost: model subject -> what of it is gone.
    """

    constructors: int | None
    lost: dict[str, str]
    info: ObjectInfo


def check_constructors(
    library: Library,
    linker: Linker,
    flags: Flags,
    *,
    offered: Iterable[str],
    scratch: Path,
    log: Path,
    cwd: Path | None = None,
) -> tuple[Check, ObjectInfo | None]:
    """Link with and without the flags under test and compare. Relative paths in them begin in `cwd`.

    `offered` are C names of the system and the runtime; the linked files go into `scratch`.

    Returns:
        The finding, and what the linked library says about itself (None when it could not be linked).
    """
    name, offered = "constructors", tuple(offered)
    try:
        whole, bare = (
            survivors(library, link(linker, library.backend, each, scratch / out, offered=offered, log=log, cwd=cwd))
            for each, out in ((flags, "linked"), (no_flags(library.path), "control"))
        )
    except SlipwayError as error:
        return failed(name, f"the link was refused: {error.what}", error.hint or _REFUSED), None
    wanted = CONSTRUCTORS_PER_MODEL * len(library.models)
    count = f"{whole.constructors}/{wanted} constructors"
    if whole.lost:
        what = listed([f"{model} lost {part}" for model, part in sorted(whole.lost.items())])
        return failed(name, f"{count} with the flags: {what}", _LOST), whole.info
    if whole.constructors is None or whole.constructors < wanted:
        return failed(name, f"{count} with the flags: {_halves(library)}", _LOST), whole.info
    if bare.constructors != 0:
        saw = (
            f"control did not bite: without any flag {bare.constructors} of {whole.constructors} constructors are left"
        )
        return failed(name, saw, _CONTROL.format(linker.tool.path)), whole.info
    return proven(
        name, f"linked by {linker.tool.path.name}, {count}; negative control passed (0 without the flags)"
    ), whole.info


_REFUSED = "read the linker's message above; the command line is in the log"
_LOST = (
    "rebuild the archive; both objects of a model (functions and blob) must be in it with their constructors. A "
    "prebuilt model must be compiled with system_lib and a system_lib_prefix of its own"
)
_CONTROL = "{} takes members nobody asked for, or ignores its flags: put another linker first on PATH"


def survivors(library: Library, linked: Path) -> Survivors:
    """Read a linked file and say which models are whole in it.

    A model's blob is found by its exported symbol; its functions by the strings under which they register, which
    outlive even a strip of all symbols. A wasm module exports neither, so its blob is found by its string as well.
    """
    data = linked.read_bytes()
    info = read_object(data, linked.name)
    visible = defined([info])
    functions = _functions(library)
    lost: dict[str, str] = {}
    for model in library.models:
        blob = library_bin(model.prefix)
        gone = [name for name in functions.get(model.subject, ()) if name.encode() + b"\0" not in data]
        if blob not in visible and (info.format != "wasm" or blob.encode() not in data):
            lost[model.subject] = blob
        elif gone:
            lost[model.subject] = f"{len(gone)} of {len(functions[model.subject])} functions ({listed(gone, 2)})"
    return Survivors(info.constructors, lost, info)


def _functions(library: Library) -> dict[str, list[str]]:
    """Model subject -> C names of its compiled functions."""
    found: dict[str, list[str]] = {}
    for member in library.members:
        for name in sorted(defined([member])):
            if name.startswith(FUNCTION_PREFIX) and (model := library.model_of(name)):
                found.setdefault(model.subject, []).append(name)
    return found


def _halves(library: Library) -> str:
    """Which models bring fewer constructors than two, read from the objects."""
    have = dict.fromkeys((model.subject for model in library.models), 0)
    for member in library.members:
        owners = {model.subject for name in defined([member]) if (model := library.model_of(name))}
        for owner in owners:
            have[owner] += member.constructors or 0
    short = [f"the objects of {model} hold {count}" for model, count in have.items() if count < CONSTRUCTORS_PER_MODEL]
    return listed(short) or "every object holds its own, the linker dropped them"
