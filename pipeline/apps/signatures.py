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
  before it. Its modules (`pipeline.binary.blobs`) each need a loader of their kind.
* A loader is in the runtime when its name is among the literals: `ffi.Module.load_from_bytes.relax.VMExecutable`, and
  `runtime.module.loadbinary_…` in TVM 0.21 and older. It is registered by a pointer to the name, so no compiler can
  fold the name into code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.binary.blobs import IDENTIFIER, LONGEST, Blob, every, find_blobs, identifier_after
from pipeline.binary.object_info import LoadedSection
from pipeline.binary.symbols import FUNCTION_PREFIX, GENERATIONS, Generation

LOADERS = ("ffi.Module.load_from_bytes.", "runtime.module.loadbinary_")
"""What the name of a loader begins with, followed by the kind of the module: today, and up to TVM 0.21."""


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
