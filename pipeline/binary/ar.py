"""Static archives (`.a`): reading every common flavour, writing three with the bytes `llvm-ar -rcsD` would write.

Writing needs no external tool, so that one archive comes out of every host. GNU `ar` is no help for Apple targets: it
writes no index for Mach-O members, and the linker then refuses the archive. The layouts are those of the BSD and the
System V `ar(5)` formats, with LLVM's choices where they leave any: Darwin archives carry every name as `#1/length` and
align members to 8 bytes; the index `__.SYMDEF` is not sorted; in GNU archives names of 16 bytes and more go to `//`.
Those of Windows are GNU's with a second, sorted index, in which no name occurs twice, and names that end in NUL
("Archive (Library) File Format" of Microsoft's "PE Format").
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import FormatError

from .object_info import Format, ObjectInfo
from .objects import is_bitcode, is_object, read_object
from .reader import Window, decode_name, encode_name

MAGIC = b"!<arch>\n"
_THIN_MAGIC = b"!<thin>\n"
_FAT_MAGICS = (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")

Flavour = Literal["darwin", "gnu", "coff"]
"""`darwin` for Mach-O members, `coff` for COFF, `gnu` for ELF and WebAssembly: what each linker looks for."""

_HEADER = struct.Struct("16s12s6s6s8s10s2s")
_HEADER_END = b"`\n"
_INDEXES = {"/", "/SYM64", "__.SYMDEF", "__.SYMDEF SORTED", "__.SYMDEF_64", "__.SYMDEF_64 SORTED"}
_LONG_NAMES = "//"
_LONG_NAME_END = re.compile(rb"[\n\0]")
_LONGEST_SHORT_NAME = 15
_MODE = 0o644
_OFFSET_LIMIT = 1 << 32
_COFF_MEMBERS = (1 << 16) - 1
_SIZE_LIMIT = 10**10
TOO_LARGE_HINT = "keep the weights out of the library (parameters as inputs), or split it"
"""Told by everything that writes or reads libraries, for what does not fit 32-bit offsets."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside an archive."""

    name: str
    data: bytes = field(repr=False)


def read_archive(data: bytes, where: str = "archive", *, skip_apple_double: bool = False) -> tuple[Member, ...]:
    """Read the members of an archive in their order, without its symbol index and its table of names.

    A Darwin archive pads its members to 8 bytes with newlines and counts the padding: such a member comes back with it.
    With `skip_apple_double` members called `._*`, which macOS's tar and zip make of extended attributes, are left out.

    Raises:
        FormatError: it is malformed, thin, or has an AppleDouble member.
    """
    window = Window(data, where)
    if data.startswith(_THIN_MAGIC):
        raise window.bad(
            "is a thin archive: it holds names of files, not the files", hint="make a real one: ar rcsD, without T"
        )
    if data.startswith(_FAT_MAGICS):
        raise window.bad("is a fat file, not one archive", hint="read the archives in its slices one by one")
    if not data.startswith(MAGIC):
        raise window.bad("is no static archive", hint="give a file that ar, llvm-ar or libtool -static wrote")
    members: list[Member] = []
    long_names: Window | None = None
    offset = len(MAGIC)
    while offset < len(data):
        raw_name, _, _, _, _, raw_size, end = _HEADER.unpack(window.cut(offset, _HEADER.size, "a member's header"))
        if end != _HEADER_END:
            raise window.bad(f"the member's header at {offset} does not end as one")
        size = _decimal(window, raw_size, "a member's size")
        body = window.cut(offset + _HEADER.size, size, "a member")
        offset += _HEADER.size + size + size % 2
        name = raw_name.rstrip(b" ")
        if name == _LONG_NAMES.encode():
            long_names = Window(body, where)
            continue
        member = _named(window, name, body, long_names)
        if member.name in _INDEXES:
            continue
        if not member.name.startswith("._"):
            members.append(member)
        elif not skip_apple_double:
            raise window.bad(
                f"member {member.name} is an AppleDouble file, made by macOS of extended attributes",
                hint="pack it again with COPYFILE_DISABLE=1 in the environment",
            )
    return tuple(members)


def read_members(data: bytes, where: str = "archive", *, skip_others: bool = False) -> tuple[ObjectInfo, ...]:
    """What the objects in an archive say about themselves; `skip_others` leaves out members that are none.

    Raises:
        FormatError: it or a member is malformed.
    """
    members = (one for one in read_archive(data, where) if not skip_others or is_object(one.data))
    return tuple(read_object(one.data, f"{where}({one.name})") for one in members)


def _named(window: Window, name: bytes, body: bytes, long_names: Window | None) -> Member:
    """Find a member's name: in the header, at the start of its data (`#1/12`), or in the table (`/34`)."""
    if name.startswith(b"#1/"):
        length = _decimal(window, name[3:], "the length of a member's name")
        raw = Window(body, window.where).cut(0, length, "a member's name")
        return Member(decode_name(raw.rstrip(b"\0")), body[length:])
    if name.startswith(b"/") and name[1:].isdigit():
        if long_names is None:
            raise window.bad(f"a member's name is entry {decode_name(name)} of a table that is not there")
        start = int(name[1:])
        end = _LONG_NAME_END.search(long_names.data, start)
        if end is None:
            raise window.bad(f"a member's name is at {start} of a table of {len(long_names)} bytes")
        name = long_names.data[start : end.start()]
    return Member(decode_name(name if name == b"/" else name.removesuffix(b"/")), body)


def _decimal(window: Window, text: bytes, what: str) -> int:
    text = text.rstrip(b" ")
    if not text.isdigit():
        raise window.bad(f"{what} is not a number: {decode_name(text)!r}")
    return int(text)


def flavour_of(form: Format) -> Flavour:
    """The dialect for members of a format."""
    return "darwin" if form == "macho" else "coff" if form == "coff" else "gnu"


def write_archive(members: Iterable[Member], flavour: Flavour, where: str = "archive") -> bytes:
    """Write an archive with a symbol index; equal members in an equal order give equal bytes, on every host.

    Dates and owners are 0 and the mode is 644, as with `llvm-ar rcsD` (and `--format=darwin`), whose output this is to
    the byte. A member that is no object file gets no entries in the index. Names must be unique: linkers and `ar x`
    confuse equal ones.

    Raises:
        FormatError: a name is used twice or cannot be one, an object is malformed or bitcode, or the archive would be
            larger than its 32-bit index can address.
    """
    members = tuple(members)
    _check_names(members, where)
    index = _index(members, where, coff=flavour == "coff")
    if flavour == "darwin":
        pieces = _darwin(members, index, where)
    else:
        pieces = _gnu(members, index, where, coff=flavour == "coff")
    return b"".join([MAGIC, *pieces])


def _check_names(members: Sequence[Member], where: str) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.name
        if not name or name.startswith("._") or name in _INDEXES or any(c in name for c in "/\n\0"):
            raise FormatError(
                f"{name!r} cannot be the name of a member", where=where, hint="use a plain file name, e.g. model_lib0.o"
            )
        if name in seen:
            raise FormatError(
                f"two members are called {name}", where=where, hint="put the model's prefix before one of the names"
            )
        if len(member.data) >= _SIZE_LIMIT:
            raise FormatError(f"member {name} is larger than a header can say", where=where, hint=TOO_LARGE_HINT)
        seen.add(name)


@dataclass(frozen=True, slots=True)
class _Index:
    """The symbol index before its layout: entry i is `names[starts[i]:]` up to a NUL, defined by member `owners[i]`."""

    owners: tuple[int, ...]
    starts: tuple[int, ...]
    names: bytes
    has_objects: bool


def _index(members: Sequence[Member], where: str, *, coff: bool) -> _Index:
    """List the global definitions of every object, in the order of their symbol tables; of COFF the first of a name."""
    owners: list[int] = []
    starts: list[int] = []
    names = bytearray()
    seen: set[str] = set()
    has_objects = False
    for number, member in enumerate(members):
        if not (is_object(member.data) or is_bitcode(member.data)):
            continue
        has_objects = True
        for symbol in read_object(member.data, f"{where}({member.name})").defined:
            if coff and symbol.name in seen:
                continue
            seen.add(symbol.name)
            owners.append(number)
            starts.append(len(names))
            names += encode_name(symbol.name) + b"\0"
    # Three NULs where objects define nothing: old linkers want an index in every archive, and LLVM obliges.
    padding = b"\0" * 3 * (has_objects and not coff)
    return _Index(tuple(owners), tuple(starts), bytes(names) or padding, has_objects)


def _darwin(members: Sequence[Member], index: _Index, where: str) -> Iterator[bytes]:
    """Pieces of a Darwin archive. The index is there even when empty: ld refuses an archive without one."""
    table_size = 8 + 8 * len(index.owners) + len(index.names)
    table_padding = -table_size % 8
    table_header = _darwin_header("__.SYMDEF", len(MAGIC), table_size + table_padding, mode=0)
    at = len(MAGIC) + len(table_header) + table_size + table_padding
    offsets: list[int] = []
    pieces: list[bytes] = []
    for member in members:
        padding = -len(member.data) % 8
        header = _darwin_header(member.name, at, len(member.data) + padding)
        offsets.append(at)
        pieces += [header, member.data, b"\n" * padding]
        at += len(header) + len(member.data) + padding
    ranlibs = [n for start, owner in zip(index.starts, index.owners, strict=True) for n in (start, offsets[owner])]
    yield table_header
    yield _words("<", [8 * len(index.owners), *ranlibs, len(index.names)], where)
    yield index.names + b"\0" * table_padding
    yield from pieces


def _darwin_header(name: str, at: int, size: int, *, mode: int = _MODE) -> bytes:
    """A header with the name after it, NUL-padded so that the data starts at a multiple of 8."""
    raw = encode_name(name)
    raw += b"\0" * (-(at + _HEADER.size + len(raw)) % 8)
    return _header(f"#1/{len(raw)}".encode(), len(raw) + size, mode) + raw


def _gnu(members: Sequence[Member], index: _Index, where: str, *, coff: bool) -> Iterator[bytes]:
    """Pieces of a GNU archive: index (only where there are objects), long names (only where there are any), members."""
    long_names = bytearray()
    pieces: list[bytes] = []
    relative: list[int] = []  # offsets of the members, counted from the first
    at = 0
    for member in members:
        name = encode_name(member.name) + b"/"
        if len(name) > _LONGEST_SHORT_NAME + 1:
            ended = name[:-1] + b"\0" if coff else name + b"\n"
            name, long_names = f"/{len(long_names)}".encode(), long_names + ended
        header = _header(name, len(member.data), _MODE)
        padding = b"\n" * (len(member.data) % 2)
        relative.append(at)
        pieces += [header, member.data, padding]
        at += len(header) + len(member.data) + len(padding)
    if long_names:
        long_names += b"\n" * (len(long_names) % 2)
        pieces.insert(0, b"//".ljust(48) + f"{len(long_names):<10}".encode() + _HEADER_END + long_names)
    first = len(MAGIC) + (len(pieces[0]) if long_names else 0)
    if index.has_objects:
        table_size = 4 + 4 * len(index.owners) + len(index.names)
        table_size += table_size % 2
        second_size = 8 + 4 * len(members) + 2 * len(index.owners) + len(index.names) if coff else 0
        second_size += second_size % 2
        first += _HEADER.size + table_size + (_HEADER.size + second_size if coff else 0)
        offsets = [first + offset for offset in relative]
        table = _words(">", [len(index.owners), *(offsets[owner] for owner in index.owners)], where) + index.names
        yield _header(b"/", table_size, 0) + table.ljust(table_size, b"\0")
        if coff:
            yield _header(b"/", second_size, 0) + _second_index(index, offsets, where).ljust(second_size, b"\0")
    yield from pieces


def _second_index(index: _Index, offsets: Sequence[int], where: str) -> bytes:
    """What today's linkers of Windows read: every member's offset, then each name in order with its member's number."""
    if len(offsets) > _COFF_MEMBERS:
        raise FormatError("has more members than its index can count", where=where, hint=TOO_LARGE_HINT)
    names = [index.names[start : index.names.index(b"\0", start)] for start in index.starts]
    found = sorted(zip(names, index.owners, strict=True))
    head = _words("<", [len(offsets), *offsets, len(found)], where)
    numbers = struct.pack(f"<{len(found)}H", *(owner + 1 for _, owner in found))
    return head + numbers + b"".join(name + b"\0" for name, _ in found)


def _header(name: bytes, size: int, mode: int) -> bytes:
    """A member's header: name, then date, owner and group (all 0), mode and size."""
    return name.ljust(16) + f"{0:<12}{0:<6}{0:<6}{mode:<8o}{size:<10}".encode() + _HEADER_END


def _words(order: Literal["<", ">"], numbers: Sequence[int], where: str) -> bytes:
    """32-bit words of the index."""
    if max(numbers) >= _OFFSET_LIMIT:
        raise FormatError("is larger than its index can address", where=where, hint=TOO_LARGE_HINT)
    return struct.pack(f"{order}{len(numbers)}I", *numbers)
