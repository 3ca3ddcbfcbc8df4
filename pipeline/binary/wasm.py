"""Reads WebAssembly: relocatable objects (with LLVM's `linking` section) and linked modules.

`objects.read_object` calls `read_wasm`. The encoding is that of the WebAssembly core specification, chapter 5; the
`linking` section is described in the tool conventions' `Linking.md`. Only what linking needs is decoded: types, table
entries, data and (but for one function) code are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .object_info import Kind, ObjectInfo, Symbol, WasmImport
from .reader import Cursor

MAGIC = b"\0asm"
_VERSION_1 = b"\1\0\0\0"

_CUSTOM, _IMPORTS, _MEMORIES, _EXPORTS, _CODE = 0, 2, 5, 7, 10
_IMPORT_KINDS = ("function", "table", "memory", "global", "tag")
_FUNCTION = 0
_HAS_MAXIMUM, _MEMORY_64, _PAGE_SIZE = 0x1, 0x4, 0x8
_TYPED_REFERENCES = (0x63, 0x64)

_LINKING_VERSION = 2
_INIT_FUNCS, _SYMBOL_TABLE = 6, 8
_SYMBOL_DATA, _SYMBOL_SECTION = 1, 3
_INDEXED_SYMBOLS = {0: "function", 2: "global", 4: "tag", 5: "table"}
_WEAK, _LOCAL, _UNDEFINED, _EXPLICIT_NAME = 0x1, 0x2, 0x10, 0x40

_FUNCTION_NAMES = 1
_START_UP = "__wasm_call_ctors"
_CALL, _END = 0x10, 0x0B


@dataclass
class _Module:
    """What the sections said so far. Their order is fixed: imports before the symbols that are named after them."""

    wide: bool = False
    linking: bool = False
    dynamic: bool = False
    imports: list[WasmImport] = field(default_factory=list)
    exports: dict[str, int] = field(default_factory=dict)  # name -> function index, -1 for what is no function
    defined: list[Symbol] = field(default_factory=list)
    undefined: list[Symbol] = field(default_factory=list)
    constructors: int = 0
    bodies: list[bytes] = field(default_factory=list)
    start_up: int | None = None

    @property
    def arch(self) -> str:
        return "wasm64" if self.wide else "wasm32"


def read_wasm(data: bytes, name: str) -> ObjectInfo:
    """Read a WebAssembly binary.

    Of a linked module the exports count as its definitions and the imported functions as its references.

    Raises:
        FormatError: it is malformed, of another version of the format (components are), or of another version of the
            `linking` section.
    """
    cursor = Cursor(data, name)
    if cursor.take(4, "the magic number") != MAGIC:
        raise cursor.window.bad("is not WebAssembly", hint="give an object or a module for wasm32")
    if cursor.take(4, "the version") != _VERSION_1:
        raise cursor.window.bad("is no WebAssembly module of version 1", hint="give a core module, not a component")
    module = _Module()
    while cursor.left:
        section = cursor.byte("a section's number")
        body = cursor.part("a section")
        if section == _CUSTOM:
            _custom(body, module)
        elif section in _READERS:
            _READERS[section](body, module)
    return _info(name, module)


def _info(name: str, module: _Module) -> ObjectInfo:
    kind: Kind = "object"
    defined, undefined = module.defined, module.undefined
    constructors: int | None = module.constructors
    if not module.linking:
        kind = "dylib" if module.dynamic else "executable"
        defined = [Symbol(export) for export in module.exports]
        undefined = [Symbol(found.name) for found in module.imports if found.kind == "function"]
        start_up = module.exports.get(_START_UP, module.start_up)
        body = -1 if start_up is None else start_up - len(undefined)
        constructors = _calls(module.bodies[body], name) if 0 <= body < len(module.bodies) else None
    return ObjectInfo(
        name=name,
        format="wasm",
        arch=module.arch,
        kind=kind,
        defined=tuple(defined),
        undefined=tuple(undefined),
        constructors=constructors,
        imports=tuple(module.imports),
    )


def _read_imports(cursor: Cursor, module: _Module) -> None:
    for _ in cursor.count("the imports"):
        source, name, kind = cursor.name("an import's module"), cursor.name("an import's name"), cursor.byte("its kind")
        if kind >= len(_IMPORT_KINDS):
            raise cursor.window.bad(f"import {source}.{name} is of unknown kind {kind}")
        module.imports.append(WasmImport(source, name, _IMPORT_KINDS[kind]))
        match _IMPORT_KINDS[kind]:
            case "function":
                cursor.number("a type's number")
            case "table":
                _skip_value_type(cursor)
                _skip_limits(cursor)
            case "memory":
                module.wide |= _skip_limits(cursor)
            case "global":
                _skip_value_type(cursor)
                cursor.byte("a global's mutability")
            case _:
                cursor.byte("a tag's attribute")
                cursor.number("a type's number")


def _skip_value_type(cursor: Cursor) -> None:
    if cursor.byte("a type") in _TYPED_REFERENCES:
        cursor.number("a heap type", bits=33)


def _skip_limits(cursor: Cursor) -> bool:
    """Skip the size of a memory or a table; True when it is addressed with 64 bits."""
    flags = cursor.byte("the limits")
    bits = 64 if flags & _MEMORY_64 else 32
    cursor.number("a minimum size", bits=bits)
    if flags & _HAS_MAXIMUM:
        cursor.number("a maximum size", bits=bits)
    if flags & _PAGE_SIZE:
        cursor.number("a page size")
    return bool(flags & _MEMORY_64)


def _read_memories(cursor: Cursor, module: _Module) -> None:
    for _ in cursor.count("the memories"):
        module.wide |= _skip_limits(cursor)


def _read_exports(cursor: Cursor, module: _Module) -> None:
    for _ in cursor.count("the exports"):
        name, kind, index = cursor.name("an export's name"), cursor.byte("its kind"), cursor.number("its index")
        module.exports[name] = index if kind == _FUNCTION else -1


def _read_bodies(cursor: Cursor, module: _Module) -> None:
    module.bodies = [cursor.sized("a function's body") for _ in cursor.count("the functions")]


_READERS: dict[int, Callable[[Cursor, _Module], None]] = {
    _IMPORTS: _read_imports,
    _MEMORIES: _read_memories,
    _EXPORTS: _read_exports,
    _CODE: _read_bodies,
}


def _custom(cursor: Cursor, module: _Module) -> None:
    match cursor.name("a custom section's name"):
        case "linking":
            _read_linking(cursor, module)
        case "dylink" | "dylink.0":
            module.dynamic = True
        case "name":
            _read_names(cursor, module)


def _read_names(cursor: Cursor, module: _Module) -> None:
    """Find the start-up function among the debug names, in case it is not exported."""
    while cursor.left:
        kind, names = cursor.byte("a kind of names"), cursor.part("names")
        if kind != _FUNCTION_NAMES:
            continue
        for _ in names.count("the function names"):
            index, name = names.number("a function's index"), names.name("a function's name")
            if name == _START_UP:
                module.start_up = index


def _read_linking(cursor: Cursor, module: _Module) -> None:
    version = cursor.number("the version of the linking section")
    if version != _LINKING_VERSION:
        raise cursor.window.bad(
            f"has a linking section of version {version}, not {_LINKING_VERSION}", hint="compile with LLVM 6 or later"
        )
    module.linking = True
    while cursor.left:
        kind, part = cursor.byte("a linking subsection's kind"), cursor.part("a linking subsection")
        if kind == _INIT_FUNCS:
            module.constructors += len(part.count("the start-up functions"))
        elif kind == _SYMBOL_TABLE:
            names: dict[str, list[str]] = {}
            for found in module.imports:
                names.setdefault(found.kind, []).append(found.name)
            for _ in part.count("the symbol table"):
                _read_symbol(part, module, names)


def _read_symbol(cursor: Cursor, module: _Module, imported: Mapping[str, Sequence[str]]) -> None:
    kind, flags = cursor.byte("a symbol's kind"), cursor.number("a symbol's flags")
    undefined = bool(flags & _UNDEFINED)
    if kind in _INDEXED_SYMBOLS:
        index = cursor.number("a symbol's index")
        if undefined and not flags & _EXPLICIT_NAME:
            names = imported.get(_INDEXED_SYMBOLS[kind], ())
            if index >= len(names):
                raise cursor.window.bad(f"a symbol is {_INDEXED_SYMBOLS[kind]} import {index} of {len(names)}")
            name = names[index]
        else:
            name = cursor.name("a symbol's name")
    elif kind == _SYMBOL_DATA:
        name = cursor.name("a symbol's name")
        if not undefined:
            cursor.number("a data segment's number")
            cursor.number("a data symbol's offset", bits=64)
            cursor.number("a data symbol's size", bits=64)
    elif kind == _SYMBOL_SECTION:
        cursor.number("a section's number")
        return
    else:
        raise cursor.window.bad(f"has a symbol of unknown kind {kind}", hint="update Slipway: a newer LLVM wrote this")
    if not flags & _LOCAL:
        (module.undefined if undefined else module.defined).append(Symbol(name, weak=bool(flags & _WEAK)))


def _calls(body: bytes, where: str) -> int | None:
    """How many functions a body calls, when it does nothing but call them one after the other; None otherwise.

    The linker writes the start-up function so; an optimiser may have inlined the callees.
    """
    cursor = Cursor(body, where)
    calls = 0
    if cursor.number("a function's locals"):
        return None
    while (instruction := cursor.byte("an instruction")) != _END:
        if instruction != _CALL:
            return None
        cursor.number("a function's index")
        calls += 1
    return calls
