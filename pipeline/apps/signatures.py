"""The signatures that models and the runtime leave in machine code: symbols, and data that outlives a strip.

`images` collects them from each binary; `findings` says what they prove of one model. What there is to find was seen in
objects that TVM compiled:

* The constructor of the functions' object registers the context and each function by name, so the C strings
  `<prefix>__tvm_ffi__library_ctx` and `__tvm_ffi_<prefix><function>` are in that object's constants. The constructor of
  the blob's object registers it as `<prefix>__tvm_ffi__library_bin`. Nothing but the constructor refers to these
  strings: a linker that drops dead code keeps both or neither, and no strip touches them.
* They are in `__TEXT,__const` (Mach-O) or `.rodata` (ELF). The literals of an app's own source are in `__cstring`, so a
  call of `dlsym` with a model's name is not mistaken for the model.
* The blob comes right before its name, with no NUL between them: a name found there may have a few bytes of the blob
  before it. It begins with its own length and lists its modules by kind, each of which needs a loader of that kind.
* A loader is in the runtime when its name is among the literals: `ffi.Module.load_from_bytes.relax.VMExecutable`, and
  `runtime.module.loadbinary_…` in TVM 0.20 and older. It is registered by a pointer to the name, so no compiler can
  fold the name into code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.binary.object_info import LoadedSection
from pipeline.binary.symbols import FUNCTION_PREFIX, GENERATIONS, Generation
from pipeline.errors import FormatError

LOADERS = ("ffi.Module.load_from_bytes.", "runtime.module.loadbinary_")
"""What the name of a loader begins with, followed by the kind of the module: today, and up to TVM 0.20."""
VM_KINDS = ("relax.VMExecutable", "relax.Executable")
"""Kinds of the module that every model's blob begins with."""

_IDENTIFIER = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_LONGEST = 512
_MOST_MODULES = 64
_MOST_NAMES = 200_000
_WORD = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Blob:
    """The blob of a model, read from its own header. `kinds` are those of its modules, `size` counts bytes."""

    prefix: str
    generation: Generation
    size: int
    kinds: tuple[str, ...]


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
            for at in _every(data, family.encode()):
                families.add(family)
                loaders.add(family + _identifier_after(data, at + len(family), also=b"."))
        if section.literals:
            continue
        for generation in GENERATIONS:
            blob_names += [(text, generation) for text in _names_before(data, generation.blob_suffix)]
            contexts.update((text, generation) for text in _names_before(data, generation.context_suffix))
        for at in _every(data, FUNCTION_PREFIX.encode()):
            name = _identifier_after(data, at + len(FUNCTION_PREFIX))
            if name and not name.startswith("_") and not (at and data[at - 1] in _IDENTIFIER):
                functions.add(name)
        blobs += _blobs(data)
    return Signatures(
        tuple(blob_names),
        frozenset(contexts),
        frozenset(functions),
        tuple(blobs),
        frozenset(loaders),
        frozenset(families),
    )


def _every(data: bytes, pattern: bytes) -> Iterator[int]:
    at, found = data.find(pattern), 0
    while at >= 0:
        yield at
        at, found = data.find(pattern, at + 1), found + 1
        if found > _MOST_NAMES:
            raise FormatError(f"mentions {pattern.decode(errors='replace')} more than {_MOST_NAMES} times")


def _names_before(data: bytes, suffix: str) -> Iterator[str]:
    """What stands before each C string that ends in `suffix`, as far as it could belong to a name."""
    for at in _every(data, suffix.encode() + b"\0"):
        start = at
        while start and at - start < _LONGEST and data[start - 1] in _IDENTIFIER:
            start -= 1
        if start < at:  # the runtime mentions the suffix alone
            yield data[start:at].decode()


def _identifier_after(data: bytes, at: int, also: bytes = b"") -> str:
    """The characters of a C string at an offset; empty when it is none (another character comes before its end)."""
    end = data.find(b"\0", at, at + _LONGEST)
    text = data[at:end] if end >= 0 else b""
    return text.decode() if all(byte in _IDENTIFIER or byte in also for byte in text) else ""


def _blobs(data: bytes) -> Iterator[Blob]:
    """Blobs whose header says where they end, with the name they are registered under right behind.

    A blob is: its length; the import tree as two lists of words, each after its length; then for each module its kind
    and its content, both after their lengths (a placeholder `_lib` has no content). All are 64-bit words.
    """
    for kind in VM_KINDS:
        for at in _every(data, _WORD.pack(len(kind)) + kind.encode()):
            start = _start(data, at)
            if start is None:
                continue
            end = start + _WORD.size + _word(data, start)
            name = _identifier_after(data, end)
            generation = next((g for g in GENERATIONS if name.endswith(g.blob_suffix)), None)
            if generation is not None:
                prefix = name.removesuffix(generation.blob_suffix)
                yield Blob(prefix, generation, end - start - _WORD.size, tuple(_kinds(data, at, end)))


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


def _kinds(data: bytes, at: int, end: int) -> Iterator[str]:
    while at + _WORD.size <= end:
        length = _word(data, at)
        kind = data[at + 8 : at + 8 + length]
        at += 8 + length
        if at > end or length > _LONGEST:
            return
        if kind != b"_lib":
            yield kind.decode(errors="replace")
            if at + _WORD.size > end:
                return
            at += 8 + _word(data, at)


def _word(data: bytes, at: int) -> int:
    return int(_WORD.unpack_from(data, at)[0]) if 0 <= at <= len(data) - _WORD.size else 1 << 62
