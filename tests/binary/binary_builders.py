"""Builds small valid object files byte by byte, so that the readers can be tested where no compiler is."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.binary.ar import Member

CPUS = {"arm64": (0x0100000C, 0), "x86_64": (0x01000007, 3), "arm64e": (0x0100000C, 0x80000002)}
PLATFORMS = {"macos": 1, "ios": 2, "maccatalyst": 6, "ios-simulator": 7}
MACHINES = {"aarch64": 183, "x86_64": 62}
COFF_MACHINES = {"aarch64": 0xAA64, "x86_64": 0x8664}


@dataclass(frozen=True)
class Sym:
    """A symbol to put into an object, spelt as it is to stand there."""

    name: str
    defined: bool = True
    weak: bool = False
    local: bool = False


def macho_object(
    symbols: list[Sym] | tuple[Sym, ...] = (),
    *,
    arch: str = "arm64",
    platform: str | None = "ios",
    minimum_os: tuple[int, int, int] = (14, 0, 0),
    constructors: int = 0,
    init_offsets: int = 0,
    filetype: int = 1,
    needed: tuple[str, ...] = (),
    version_min: int | None = None,
) -> bytes:
    version = minimum_os[0] << 16 | minimum_os[1] << 8 | minimum_os[2]
    sections = [(b"__text", b"__TEXT", 16, 0x80000400)]
    if constructors:
        sections.append((b"__mod_init_func", b"__DATA", 8 * constructors, 0x9))
    if init_offsets:
        sections.append((b"__init_offsets", b"__TEXT", 4 * init_offsets, 0x16))
    contents = sum(size for _, _, size, _ in sections)
    commands: list[bytes] = []
    if platform is not None:
        commands.append(struct.pack("<6I", 0x32, 24, PLATFORMS[platform], version, 0, 0))
    if version_min is not None:
        commands.append(struct.pack("<4I", version_min, 16, version, 0))
    for library in needed:
        raw = library.encode() + b"\0" * (8 - len(library) % 8)
        commands.append(struct.pack("<6I", 0xC, 24 + len(raw), 24, 0, 0, 0) + raw)
    segment_size = 72 + 80 * len(sections)
    start = 32 + sum(map(len, commands)) + segment_size + 24
    segment = struct.pack(
        "<2I16s4Q4I", 0x19, segment_size, b"", 0, contents, start, contents, 7, 7, len(sections), 0
    )  # fmt: skip
    at = 0
    for name, owner, size, flags in sections:
        segment += struct.pack("<16s16s2Q8I", name, owner, at, size, start + at, 2, 0, 0, flags, 0, 0, 0)
        at += size
    strings, table = bytearray(b"\0"), b""
    for symbol in symbols:
        kind = (0x0E if symbol.defined else 0) | (not symbol.local)
        weak = (0x80 if symbol.defined else 0x40) if symbol.weak else 0
        table += struct.pack("<IBBHQ", len(strings), kind, int(symbol.defined), weak, 0)
        strings += symbol.name.encode() + b"\0"
    symbols_at = start + contents
    commands += [
        segment,
        struct.pack("<6I", 0x2, 24, symbols_at, len(symbols), symbols_at + len(table), len(strings)),
    ]
    body = b"".join(commands)
    cpu, subtype = CPUS[arch]
    header = struct.pack("<8I", 0xFEEDFACF, cpu, subtype, filetype, len(commands), len(body), 0, 0)
    return header + body + b"\0" * contents + table + bytes(strings)


def elf_object(
    symbols: list[Sym] | tuple[Sym, ...] = (), *, arch: str = "x86_64", constructors: int = 0, ctors: int = 0
) -> bytes:
    ordered = sorted(symbols, key=lambda symbol: not symbol.local)  # ELF wants local symbols first
    strings, table = bytearray(b"\0"), b"\0" * 24
    for symbol in ordered:
        binding = 0 if symbol.local else 2 if symbol.weak else 1
        table += struct.pack("<IBBHQQ", len(strings), binding << 4, 0, int(symbol.defined), 0, 0)
        strings += symbol.name.encode() + b"\0"
    first_global = 1 + sum(symbol.local for symbol in ordered)
    sections = [
        ("", 0, b"", 0, 0, 0),
        (".text", 1, b"\0" * 16, 0, 0, 0),
        (".symtab", 2, table, 3, first_global, 24),
        (".strtab", 3, bytes(strings), 0, 0, 0),
        *([(".init_array", 14, b"\0" * 8 * constructors, 0, 0, 8)] if constructors else []),
        *([(".ctors", 1, b"\0" * 8 * ctors, 0, 0, 8)] if ctors else []),
    ]
    names, name_offsets = bytearray(), []
    for name, *_ in [*sections, (".shstrtab",)]:
        name_offsets.append(len(names))
        names += name.encode() + b"\0"
    sections.append((".shstrtab", 3, bytes(names), 0, 0, 0))
    body, headers = b"", b""
    for at, (_, kind, content, link, info, entry) in zip(name_offsets, sections, strict=True):
        body += b"\0" * (-len(body) % 8)
        headers += struct.pack("<2I4Q2I2Q", at, kind, 0, 0, 64 + len(body), len(content), link, info, 8, entry)
        body += content
    body += b"\0" * (-len(body) % 8)
    count = len(sections)
    identity = b"\x7fELF\2\1\1" + b"\0" * 9
    header = struct.pack("<2HI3QI6H", 1, MACHINES[arch], 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, count, count - 1)
    return identity + header + body + headers


def leb(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def sized(content: bytes) -> bytes:
    return leb(len(content)) + content


def wasm_section(number: int, content: bytes) -> bytes:
    return bytes([number]) + sized(content)


def wasm_custom(name: str, content: bytes) -> bytes:
    return wasm_section(0, sized(name.encode()) + content)


def wasm_object(symbols: list[Sym] | tuple[Sym, ...] = (), *, constructors: int = 0, wide: bool = False) -> bytes:
    missing = [symbol for symbol in symbols if not symbol.defined]
    present = [symbol for symbol in symbols if symbol.defined]
    imports = sized(b"env") + sized(b"__linear_memory") + (b"\x02\x04\x00" if wide else b"\x02\x00\x00")
    for symbol in missing:
        imports += sized(b"env") + sized(symbol.name.encode()) + b"\0" + leb(0)
    table = b""
    indices = {symbol.name: i for i, symbol in enumerate([*missing, *present])}
    for symbol in symbols:
        flags = symbol.weak | symbol.local << 1 | (not symbol.defined) << 4
        table += b"\0" + leb(flags) + leb(indices[symbol.name])
        if symbol.defined:
            table += sized(symbol.name.encode())
    linking = leb(2) + b"\x08" + sized(leb(len(symbols)) + table)
    if constructors:
        linking += b"\x06" + sized(leb(constructors) + (leb(65535) + leb(0)) * constructors)
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            wasm_section(1, leb(1) + b"\x60\0\0"),
            wasm_section(2, leb(len(missing) + 1) + imports),
            wasm_section(3, leb(len(present)) + b"\0" * len(present)),
            wasm_section(10, leb(len(present)) + b"\x02\0\x0b" * len(present)),
            wasm_custom("linking", linking),
        ]
    )


def coff_object(
    symbols: list[Sym] | tuple[Sym, ...] = (), *, arch: str = "x86_64", constructors: int = 0, crt: str = ".CRT$XCU"
) -> bytes:
    """Weak definitions are what LLVM makes of them: a fallback, and the symbol that it stands for."""
    sections = [(b".text", b"\xc3" * 16, 0x60500020)]
    if constructors:
        sections.append((crt.encode(), b"\0" * 8 * constructors, 0x40400040))
    table, strings = bytearray(), bytearray()

    def add(name: str, section: int, storage: int, aux: bytes = b"") -> None:
        nonlocal table, strings
        raw = name.encode()
        if len(raw) > 8:
            raw, strings = struct.pack("<2I", 0, 4 + len(strings)), strings + raw + b"\0"
        table += struct.pack("<8sIhHBB", raw, 0, section, 0x20, storage, len(aux) // 18) + aux

    for symbol in symbols:
        where = int(symbol.defined and not symbol.weak)
        if not symbol.weak or symbol.local:
            add(symbol.name, int(symbol.defined), 3 if symbol.local else 2)
            continue
        add(symbol.name, where, 105, struct.pack("<2I10x", len(table) // 18 + 2, 3 if symbol.defined else 2))
        add(f".weak.{symbol.name}.default.it", int(symbol.defined), 3)
    at = 20 + 40 * len(sections)
    headers, body = b"", b""
    for name, content, flags in sections:
        headers += struct.pack("<8s6I2HI", name, 0, 0, len(content), at + len(body), 0, 0, 0, 0, flags)
        body += content
    header = struct.pack("<2H3I2H", COFF_MACHINES[arch], len(sections), 0, at + len(body), len(table) // 18, 0, 0)
    return header + headers + body + bytes(table) + struct.pack("<I", 4 + len(strings)) + bytes(strings)


BUILDERS = {"macho": macho_object, "elf": elf_object, "wasm": wasm_object, "coff": coff_object}
FLAVOURS = {"macho": "darwin", "coff": "coff"}
"""Format -> the dialect of its archives, where that is not `gnu`."""


def tvm_model(prefix: str, format_: str = "macho", **options: object) -> tuple[Member, Member]:
    """Objects with the symbols of a TVM model, under the names TVM's tar gives them."""
    underscore = "_" if format_ == "macho" else ""
    registration = Sym(f"{underscore}TVMFFIEnvModRegisterSystemLibSymbol", defined=False)
    build = BUILDERS[format_]
    blob = build([Sym(f"{underscore}{prefix}__tvm_ffi__library_bin"), registration], constructors=1, **options)
    host = build(
        [
            Sym(f"{underscore}__tvm_ffi_{prefix}matmul"),
            Sym(f"{underscore}{prefix}matmul_compute_", local=True),
            Sym(f"{underscore}{prefix}__tvm_ffi__library_ctx", weak=True),
            Sym(f"{underscore}__tvm_ffi_main", weak=True),
            Sym(f"{underscore}__truncsfhf2", weak=True),
            registration,
        ],
        constructors=1,
        **options,
    )
    return Member("lib0.o", host), Member(f"{prefix}devc.o", blob)
