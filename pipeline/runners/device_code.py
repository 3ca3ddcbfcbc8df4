"""Whether a twin has the kernels that ship: device code in objects, compared byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.binary.ar import Member, read_archive
from pipeline.binary.blobs import VM_KINDS, find_blobs
from pipeline.binary.objects import loaded_sections
from pipeline.errors import StepError, VerifyError

_KERNEL = re.compile(rb"\b(?:__)?kernel\s+void\s+(?:__attribute__\(\(.*?\)\)\s*)?(\w+)")
_SHOWN = 60

Modules = dict[str, bytes]
"""Kind of a module (`opencl`) -> its content: the kernels' source and how they are called."""


def of_archive(library: Path, prefix: str) -> Modules:
    """The device code of a model in an archive."""
    return _of(read_archive(library.read_bytes(), library.name), prefix, library)


def of_objects(folder: Path, prefix: str) -> Modules:
    """The device code of a model in a directory of objects."""
    return _of((Member(path.name, path.read_bytes()) for path in sorted(folder.glob("*.o"))), prefix, folder)


def _of(objects: Iterable[Member], prefix: str, where: Path) -> Modules:
    for blob in (blob for member in objects for blob in _blobs(member) if blob[0] == prefix):
        return {kind: content for kind, content in blob[1] if kind not in VM_KINDS}
    raise StepError(f"no object has the blob of {prefix}", where=where, hint="build it again")


def _blobs(member: Member) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    for section in loaded_sections(member.data, member.name):
        for blob in find_blobs(section.data):
            yield blob.prefix, list(blob.modules(section.data))


def check_equal(shipped: Modules, twin: Modules) -> None:
    """Hold a twin's device code against what ships.

    Raises:
        VerifyError: it differs; the message says in which kernel.
    """
    if shipped.keys() != twin.keys() or not shipped:
        have, want = (", ".join(sorted(one)) or "none" for one in (twin, shipped))
        raise VerifyError(f"the twin has device code of kind {have}, and what ships has {want}", hint=_HINT)
    for kind, ours in shipped.items():
        if (theirs := twin[kind]) != ours:
            raise VerifyError(f"the twin's {kind} kernels are not those that ship: {_where(ours, theirs)}", hint=_HINT)


def extensions(modules: Modules) -> tuple[str, ...]:
    """The extensions of OpenCL that kernels ask for, sorted."""
    found = {name for code in modules.values() for name in re.findall(rb"#pragma OPENCL EXTENSION (cl_khr_\w+)", code)}
    return tuple(sorted(name.decode() for name in found))


_HINT = "run doit again; where it stays so the compiler is not deterministic, and the kernels that ship cannot be run"


def _where(ours: bytes, theirs: bytes) -> str:
    """Where two pieces of code differ first, in words."""
    ends = min(len(ours), len(theirs))
    at = next((place for place in range(ends) if ours[place] != theirs[place]), ends)
    names = [match[1].decode() for match in _KERNEL.finditer(ours[: at + 1])]
    start = ours.rfind(b"\n", 0, at) + 1
    lines = (code[start : start + _SHOWN].partition(b"\n")[0].decode("utf-8", "replace") for code in (ours, theirs))
    what = "at byte {}{}: {!r} ships, the twin has {!r}"
    return what.format(at, f" in {names[-1]}" if names else "", *lines)
