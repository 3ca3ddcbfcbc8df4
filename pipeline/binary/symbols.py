"""What TVM's system libraries look like from outside: which symbols a model leaves in objects, and in which generation.

A model compiled with `system_lib=True` and a prefix is two objects. The host object holds the functions, the other one
the *blob* (bytecode, device kernels, constants) under `<prefix><suffix>`. Each has one constructor, which hands its
part to the runtime through a registration function. Both names changed over TVM's history, and a model links only with
a runtime of its generation; `GENERATIONS` is that history, from the git log of TVM's `codegen_blob.cc` and
`codegen_cpu.cc`. `verify`, `archive` and the link kits ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import FormatError

from .object_info import Format, ObjectInfo

CONSTRUCTORS_PER_MODEL = 2
"""One registers the functions, one the blob. A link that keeps only one of them gives a model that cannot run."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One spelling of the blob's symbol.

    Attributes:
        name: for people and records, e.g. `2025-09`: the month TVM began to write it.
        blob_suffix: what follows the prefix in the blob's symbol (a C name).
        context_suffix: what follows the prefix in the symbol of the host object's module context.
        registrations: the functions its constructors may call, oldest first; the runtime must define that one.
    """

    name: str
    blob_suffix: str
    context_suffix: str
    registrations: tuple[str, ...]


GENERATIONS = (
    Generation("2025-09", "__tvm_ffi__library_bin", "__tvm_ffi__library_ctx", ("TVMFFIEnvModRegisterSystemLibSymbol",)),
    Generation(
        "2025-06",
        "__tvm_ffi_library_bin",
        "__tvm_ffi_library_ctx",
        (
            "TVMBackendRegisterSystemLibSymbol",
            "TVMFFIEnvRegisterSystemLibSymbol",  # for three days of August 2025
            "TVMFFIEnvModRegisterSystemLibSymbol",
        ),
    ),
    Generation("0.18", "__tvm_dev_mblob", "__tvm_module_ctx", ("TVMBackendRegisterSystemLibSymbol",)),
)
"""Newest first. `0.18` stands for all before June 2025."""

REGISTRATIONS = frozenset(name for generation in GENERATIONS for name in generation.registrations)

FUNCTION_PREFIX = "__tvm_ffi_"
"""What the C name of every compiled function begins with, before the prefix of its model."""

_MACHO_UNDERSCORE = "_"


@dataclass(frozen=True, slots=True)
class ModelSymbols:
    """One model as its symbols tell it.

    Attributes:
        library_bin: the blob's symbol as the file spells it (Mach-O: with the underscore, as linker flags want it).
        blob_object: name of the object or image with the blob.
        host_object: name of the one with the functions; None where there is none, which makes the model useless.
        functions: its functions without the prefix, sorted: what the bytecode calls.
        registration: the C function its objects call to register; None where no symbol tells (a stripped image).
    """

    prefix: str
    generation: Generation
    library_bin: str
    blob_object: str
    host_object: str | None
    functions: tuple[str, ...]
    registration: str | None


def c_name(symbol: str, format_: Format) -> str:
    """A symbol as C source spells it. Mach-O alone puts an underscore before every C name."""
    return symbol.removeprefix(_MACHO_UNDERSCORE) if format_ == "macho" else symbol


def defined(infos: Iterable[ObjectInfo]) -> frozenset[str]:
    """C names that objects define."""
    return frozenset(c_name(symbol.name, info.format) for info in infos for symbol in info.defined)


def undefined(infos: Iterable[ObjectInfo], *, weak: bool = True) -> frozenset[str]:
    """C names that objects refer to and do not define themselves; `weak`: also those that may be missing."""
    infos = tuple(infos)
    wanted = (c_name(one.name, info.format) for info in infos for one in info.undefined if weak or not one.weak)
    return frozenset(wanted) - defined(infos)


def symbol_name(name: str, format_: Format) -> str:
    """A C name as objects of a format spell it; the reverse of `c_name`."""
    return _MACHO_UNDERSCORE + name if format_ == "macho" else name


def library_bin(prefix: str) -> str:
    """C name of the blob that says "this model is here"; `ffi.SystemLib(prefix)` looks for it."""
    return prefix + GENERATIONS[0].blob_suffix


def required_symbols(prefix: str) -> tuple[str, str]:
    """The C symbols to name with `-u`: the blob, and the (weak) one that lives beside the compiled functions."""
    return library_bin(prefix), prefix + GENERATIONS[0].context_suffix


def exported(prefix: str) -> tuple[str, ...]:
    """The C symbols to keep visible in the linked product, so that a strip of the product can be checked with nm."""
    return (library_bin(prefix),)


def find_models(infos: Iterable[ObjectInfo]) -> list[ModelSymbols]:
    """Every model in objects that will be linked together (the members of an archive) or in linked images, by prefix.

    Raises:
        FormatError: two objects hold a blob of one prefix.
    """
    infos = tuple(infos)
    blobs: dict[str, tuple[Generation, ObjectInfo]] = {}
    for info in infos:
        for prefix, generation in _blobs(info):
            if prefix in blobs:
                raise FormatError(
                    f"{blobs[prefix][1].name} and {info.name} both hold a model with the prefix {prefix!r}",
                    hint="compile each model with a system_lib_prefix of its own",
                )
            blobs[prefix] = generation, info
    generations = {prefix: generation for prefix, (generation, _) in blobs.items()}
    hosts: dict[str, ObjectInfo] = {}
    functions: dict[str, set[str]] = {prefix: set() for prefix in blobs}
    for info in infos:
        for prefix, function in _functions(info, generations):
            hosts.setdefault(prefix, info)
            if function is not None:
                functions[prefix].add(function)
    return [
        ModelSymbols(
            prefix=prefix,
            generation=generation,
            library_bin=symbol_name(prefix + generation.blob_suffix, blob.format),
            blob_object=blob.name,
            host_object=hosts[prefix].name if prefix in hosts else None,
            functions=tuple(sorted(functions[prefix])),
            registration=_registration(blob),
        )
        for prefix, (generation, blob) in sorted(blobs.items())
    ]


def _blobs(info: ObjectInfo) -> Iterator[tuple[str, Generation]]:
    """(prefix, generation) of every blob an object defines."""
    for symbol in info.defined:
        name = c_name(symbol.name, info.format)
        for generation in GENERATIONS:
            if name.endswith(generation.blob_suffix):
                yield name.removesuffix(generation.blob_suffix), generation
                break


def _functions(info: ObjectInfo, generations: Mapping[str, Generation]) -> Iterator[tuple[str, str | None]]:
    """(prefix, function) of every function an object defines; (prefix, None) for the mere context of one.

    A host object names its model in its context's symbol. Where that is missing, the longest prefix that fits decides:
    `bert_large_forward` is a function of `bert_large_`, not of `bert_`, when both are there.
    """
    names = defined([info])
    contexts = {prefix + generation.context_suffix: prefix for prefix, generation in generations.items()}
    here = [contexts[name] for name in names & contexts.keys()]
    yield from ((prefix, None) for prefix in here)
    candidates = here if here and info.kind == "object" else generations
    by_length = sorted(candidates, key=len, reverse=True)
    own = contexts.keys() | {prefix + generation.blob_suffix for prefix, generation in generations.items()}
    for name in names - own:
        bare = name.removeprefix(FUNCTION_PREFIX)
        prefix = next((p for p in by_length if bare.startswith(p)), None)
        # Older generations put nothing but the model's prefix before a function's name.
        if prefix is not None and (bare != name or _is_bare_function(name.removeprefix(prefix), generations[prefix])):
            yield prefix, bare.removeprefix(prefix)


def _is_bare_function(name: str, generation: Generation) -> bool:
    return generation is not GENERATIONS[0] and not name.startswith("__tvm_")


def _registration(info: ObjectInfo) -> str | None:
    symbols = (*info.undefined, *info.defined)
    return next((name for s in symbols if (name := c_name(s.name, info.format)) in REGISTRATIONS), None)
