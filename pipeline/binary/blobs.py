"""The blob of a model (bytecode, kernels, constants) as TVM puts it into an object and a linker leaves it.

A blob is: its length; the import tree as two lists of words, each after its length; then for each module its kind and
its content, both after their lengths (a placeholder `_lib` has no content). All are 64-bit words. Right behind it
stands the name under which it is registered, a C string. `pipeline.apps` looks for blobs in apps, a twin's kernels are
compared with those that ship.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.errors import FormatError

from .symbols import GENERATIONS, Generation

VM_KINDS = ("relax.VMExecutable", "relax.Executable")
"""Kinds of the module that every model's blob begins with."""

IDENTIFIER = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
LONGEST = 512
_MOST_MODULES = 64
_MOST_NAMES = 200_000
_WORD = struct.Struct("<Q")
_HOST = "_lib"


@dataclass(frozen=True, slots=True)
class Blob:
    """The blob of a model, read from its own header; `span`: where in the data its list of modules begins, and ends."""

    prefix: str
    generation: Generation
    size: int
    kinds: tuple[str, ...]
    span: tuple[int, int] = field(default=(0, 0), compare=False)

    def modules(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Kind and content of each module; `data` is what the blob was found in."""
        return ((kind, data[start:end]) for kind, start, end in _modules(data, *self.span))


def find_blobs(data: bytes) -> Iterator[Blob]:
    """Blobs whose header says where they end, with the name they are registered under right behind.

    Raises:
        FormatError: there is no end of what could be one.
    """
    for kind in VM_KINDS:
        for at in every(data, _WORD.pack(len(kind)) + kind.encode()):
            start = _start(data, at)
            if start is None:
                continue
            end = start + _WORD.size + _word(data, start)
            name = identifier_after(data, end)
            generation = next((g for g in GENERATIONS if name.endswith(g.blob_suffix)), None)
            if generation is not None:
                prefix = name.removesuffix(generation.blob_suffix)
                kinds = tuple(kind for kind, _, _ in _modules(data, at, end))
                yield Blob(prefix, generation, end - start - _WORD.size, kinds, (at, end))


def every(data: bytes, pattern: bytes) -> Iterator[int]:
    """Where a pattern occurs.

    Raises:
        FormatError: more often than in anything that a compiler writes.
    """
    at, found = data.find(pattern), 0
    while at >= 0:
        yield at
        at, found = data.find(pattern, at + 1), found + 1
        if found > _MOST_NAMES:
            raise FormatError(f"mentions {pattern.decode(errors='replace')} more than {_MOST_NAMES} times")


def identifier_after(data: bytes, at: int, also: bytes = b"") -> str:
    """The characters of a C string at an offset; empty when it is none (another character comes before its end)."""
    end = data.find(b"\0", at, at + LONGEST)
    text = data[at:end] if end >= 0 else b""
    return text.decode() if all(byte in IDENTIFIER or byte in also for byte in text) else ""


def _start(data: bytes, modules: int) -> int | None:
    """Where a blob starts whose list of modules is at an offset: the one place from which all lengths agree."""
    for words in range(3, 2 * _MOST_MODULES):
        start = modules - words * _WORD.size
        if start < 0:
            return None
        rows = _word(data, start + 8)
        if rows > words - 3:
            continue
        children = _word(data, start + 16 + 8 * rows)
        if rows + children == words - 3 and modules < start + 8 + _word(data, start) <= len(data):
            return start
    return None


def _modules(data: bytes, at: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of the content of each module."""
    while at + _WORD.size <= end:
        length = _word(data, at)
        name, at = at + _WORD.size, at + _WORD.size + length
        if at > end or length > LONGEST:
            return
        kind = data[name:at].decode(errors="replace")
        if kind == _HOST:
            continue
        start, size = at + _WORD.size, _word(data, at)
        yield kind, start, min(start + size, end)
        at = start + size


def _word(data: bytes, at: int) -> int:
    return int(_WORD.unpack_from(data, at)[0]) if 0 <= at <= len(data) - _WORD.size else 1 << 62
