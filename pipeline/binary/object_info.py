"""What one object file, library or program says about itself, whatever its format: the values the readers return.

`macho`, `elf`, `wasm` and `coff` fill an `ObjectInfo`; `objects.read_object` chooses among them; everybody else only
reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Format = Literal["macho", "elf", "wasm", "coff"]
Kind = Literal["object", "dylib", "executable"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A global name, spelt as in the file (Mach-O: with its leading underscore; `symbols.c_name` takes it off).

    Attributes:
        weak: of a definition: others of the same name may stand beside it without an error of the linker (weak,
            common, unique). Of a reference: the link succeeds without a definition.
    """

    name: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class WasmImport:
    """What a WebAssembly module asks its host for. `kind` is `function`, `table`, `memory`, `global` or `tag`."""

    module: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class LoadedSection:
    """Bytes of a file that are in memory when it runs.

    Attributes:
        name: e.g. `__const`, `.rodata`.
        literals: whether it holds nothing but mergeable C strings, i.e. the string literals of a program's source.
    """

    name: str
    data: bytes = field(repr=False)
    literals: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object file or linked image.

    Attributes:
        name: what the caller called it; errors name it so.
        format: `macho`, `elf`, `wasm` or `coff`.
        arch: as triples of that format spell it: `arm64`, `x86_64` (Mach-O), `aarch64`, `x86_64` (ELF, COFF), `wasm32`.
        kind: `object` is what a compiler writes and an archive holds; the other two are linked.
        platform: of Mach-O: `ios`, `ios-simulator`, `maccatalyst`, `macos`, …; None where no load command says so, and
            always None for the other formats. A zippered image counts as its first platform.
        minimum_os: the oldest system it promises to run on, e.g. `14.0`; None where `platform` is None.
        defined: global definitions, in the order of the symbol table (what an archive's index lists).
        undefined: global references that something else must define.
        constructors: entries that run at start-up. None for a linked wasm module whose start-up function is not a plain
            list of calls.
        needed: libraries the loader must find (LC_LOAD_DYLIB, DT_NEEDED).
        load_alignment: of a linked ELF image: the smallest alignment in bytes of its LOAD segments. Android's 16 KB
            pages need 16384 or more.
        imports: of wasm: the import section.
    """

    name: str
    format: Format
    arch: str
    kind: Kind
    platform: str | None = None
    minimum_os: str | None = None
    defined: tuple[Symbol, ...] = ()
    undefined: tuple[Symbol, ...] = ()
    constructors: int | None = 0
    needed: tuple[str, ...] = ()
    load_alignment: int | None = None
    imports: tuple[WasmImport, ...] = ()
