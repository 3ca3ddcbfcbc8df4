"""Reads macOS installer packages (`.pkg`): a xar archive, with the files of the app in a cpio archive called `Payload`.

`containers` calls `payload_files`. Everything is streamed; nothing is written. Supported are flat packages as
`pkgbuild`, `productbuild` and Xcode's export write them: payloads that are gzip, pbzx (xz), bzip2 or plain, with odc or
newc headers. Not supported are Apple Archive payloads (`AA01`, `YAA1`) and packages that are folders. The layouts are
those of xar's public header, of cpio(5), and of pbzx as it is found in packages: a flags word, then chunks.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

from pipeline.errors import FormatError

MAGIC = b"xar!"
_HEADER = struct.Struct(">4s2H2QI")
_LARGEST_TOC = 4 << 20
_ALWAYS_FINE, _RATIO = 1 << 30, 200
"""A payload may unpack to 1 GiB, or to 200 times its size."""
_ODC, _NEWC = b"070707", (b"070701", b"070702")
_NAME_LIMIT = 1 << 14
_REGULAR, _TYPE = 0o100000, 0o170000
_AGAIN = "export the package again"
_UNSUPPORTED = "expand it on a Mac (pkgutil --expand-full) and give the .app"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the table of contents: where its bytes are, counted from the start of the package."""

    path: str
    offset: int
    length: int
    encoding: str


class PayloadFile:
    """A file of a payload while the iteration is at it."""

    def __init__(self, path: str, size: int, stream: IO[bytes]) -> None:
        self.path = path
        self.size = size
        self._stream = stream
        self._left = size

    def read(self, count: int) -> bytes:
        """The next bytes of the file."""
        count = min(count, self._left)
        data = _exactly(self._stream, count)
        self._left -= count
        return data

    def skip(self) -> None:
        """Go behind its end."""
        while self._left:
            self.read(min(self._left, 1 << 20))


def payload_files(path: Path) -> Iterator[PayloadFile]:
    """Regular files of every payload in a package.

    Raises:
        FormatError: its table of contents is damaged, or it is packed in a way that is not supported.
        OSError, EOFError, ValueError, zlib.error, lzma.LZMAError: its payload is damaged.
    """
    with path.open("rb") as file:
        payloads = [entry for entry in read_toc(file, path) if entry.path.rpartition("/")[2] == "Payload"]
        if not payloads:
            raise FormatError("has no Payload", where=path, hint=_UNSUPPORTED)
        for entry in payloads:
            raw: io.BufferedReader = io.BufferedReader(_Chunks(_part(file, entry.offset, entry.offset + entry.length)))
            limit = max(_ALWAYS_FINE, _RATIO * entry.length)
            yield from _cpio(_unpacked(raw, entry.encoding, path), limit, path)


def read_toc(file: IO[bytes], where: Path) -> list[Entry]:
    """The files in a xar archive's table of contents.

    Raises:
        FormatError: the table is damaged, too large, or points outside.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        magic, header_size, _version, packed, unpacked, _checksum = _HEADER.unpack(_exactly(file, _HEADER.size))
        file.seek(header_size)
        if magic != MAGIC or max(packed, unpacked) > _LARGEST_TOC:
            raise FormatError("has no table of contents that can be", where=where, hint=_AGAIN)
        toc = zlib.decompressobj().decompress(_exactly(file, packed), _LARGEST_TOC)
        root = ET.fromstring(toc, ET.XMLParser(target=_NoDoctype()))  # noqa: S314 - see there
        entries = [entry for toc in root.iterfind("toc") for entry in _entries(toc)]
    except (EOFError, zlib.error, ET.ParseError, RecursionError, ValueError) as broken:
        raise FormatError(f"its table of contents is damaged: {broken}", where=where, hint=_AGAIN) from broken
    heap = header_size + packed
    for entry in entries:
        if entry.offset < 0 or entry.length < 0 or heap + entry.offset + entry.length > end:
            raise FormatError(f"its {entry.path} lies outside of it", where=where, hint=_AGAIN)
    return [Entry(entry.path, heap + entry.offset, entry.length, entry.encoding) for entry in entries]


class _NoDoctype(ET.TreeBuilder):
    """One with a DTD, which xar never writes, is refused before its entities can stand for billions of bytes."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it has a document type")


def _entries(element: ET.Element, folder: str = "") -> Iterator[Entry]:
    """Entries with data; offsets still count from the heap."""
    for file in element.iterfind("file"):
        path = f"{folder}{file.findtext('name', '')}"
        offset, length, encoding = (
            file.findtext("data/offset"),
            file.findtext("data/length"),
            file.find("data/encoding"),
        )
        if offset is not None and length is not None:
            yield Entry(path, int(offset), int(length), "" if encoding is None else encoding.get("style", ""))
        yield from _entries(file, f"{path}/")


def _part(file: IO[bytes], at: int, end: int) -> Iterator[bytes]:
    """The bytes of a part of a file."""
    while at < end:
        file.seek(at)
        piece = file.read(min(_PIECE, end - at))
        if not piece:
            return
        at += len(piece)
        yield piece


def _unpacked(raw: io.BufferedReader, encoding: str, where: Path) -> IO[bytes]:
    """The cpio archive in a payload. What xar calls x-gzip is a zlib stream."""
    if encoding == "application/x-gzip":
        raw = io.BufferedReader(_Chunks(_zlib_chunks(raw)))
    magic = raw.peek(6)[:6]
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if magic.startswith(b"pbzx"):
        return io.BufferedReader(_Chunks(_pbzx_chunks(raw)))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(raw)
    if magic in {_ODC, *_NEWC}:
        return raw
    raise FormatError(f"its Payload begins with {magic[:4]!r}, which is not supported", where=where, hint=_UNSUPPORTED)


class _Chunks(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


_PIECE = 1 << 20
_LARGEST_CHUNK = 1 << 28


def _zlib_chunks(raw: IO[bytes]) -> Iterator[bytes]:
    unzip = zlib.decompressobj()
    while not unzip.eof:
        packed = unzip.unconsumed_tail or raw.read(_PIECE)
        if not packed:
            raise EOFError("it ends too early")
        yield unzip.decompress(packed, _PIECE)


def _pbzx_chunks(raw: IO[bytes]) -> Iterator[bytes]:
    """Chunks of (unpacked length, packed length, xz or plain bytes)."""
    _exactly(raw, 4 + 8)
    while head := raw.read(16):
        if len(head) < 16:  # noqa: PLR2004 - the two words read a line above
            raise EOFError("it ends too early")
        size, packed = struct.unpack(">2Q", head)
        if max(size, packed) > _LARGEST_CHUNK:
            raise EOFError(f"a chunk claims {max(size, packed)} bytes")
        data = _exactly(raw, packed)
        if size == packed:
            yield data
            continue
        unpacker = lzma.LZMADecompressor()
        yield unpacker.decompress(data, size)


def _cpio(stream: IO[bytes], limit: int, where: Path) -> Iterator[PayloadFile]:
    """Regular files of a cpio archive (odc or newc)."""
    total = 0
    while True:
        magic = _exactly(stream, 6)
        if magic == _ODC:
            fields = _exactly(stream, 70)
            mode, name_size, size = int(fields[12:18], 8), int(fields[53:59], 8), int(fields[59:70], 8)
            name_padding = padding = 0
        elif magic in _NEWC:
            words = [int(word, 16) for (word,) in struct.iter_unpack("8s", _exactly(stream, 104))]
            mode, size, name_size = words[1], words[6], words[11]
            name_padding, padding = -(110 + name_size) % 4, -size % 4
        else:
            raise EOFError(f"an entry begins with {magic!r}")
        total += size + name_size
        if total > limit or name_size > _NAME_LIMIT:
            raise FormatError(f"its Payload unpacks to more than {limit} bytes: a bomb", where=where, hint=_AGAIN)
        name = _exactly(stream, name_size)[:-1].decode(errors="replace").removeprefix("./")
        _exactly(stream, name_padding)
        if name == "TRAILER!!!":
            return
        file = PayloadFile(name, size, stream)
        if mode & _TYPE == _REGULAR:
            yield file
        file.skip()
        _exactly(stream, padding)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    """`count` bytes; a stream that ends before is damaged."""
    pieces: list[bytes] = []
    while count:
        piece = stream.read(min(count, _PIECE))
        if not piece:
            raise EOFError("it ends too early")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
