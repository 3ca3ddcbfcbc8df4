"""Bounds-checked reading of untrusted bytes: the one place where an offset from a file is believed or refused.

Every reader of this package goes through `Window`. Offsets, sizes and counts come from the file and may be anything, so
each access is checked against the bytes there are, and a lie becomes a `FormatError` that names the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from pipeline.errors import FormatError

LONGEST_NAME = 1 << 16
"""Bytes of the longest name believed: overlapping names in a crafted string table could fill memory otherwise."""


class Window:
    """Bytes, and the name of the file they are from, by which errors name them: `libmodels.a(bert_lib0.o)`."""

    __slots__ = ("data", "where")

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where

    def __len__(self) -> int:
        return len(self.data)

    def bad(self, what: str, *, hint: str | None = None) -> FormatError:
        """The error for a lie found in these bytes; raise it."""
        return FormatError(what, where=self.where, hint=hint or "the file is damaged or incomplete: build it again")

    def cut(self, offset: int, size: int, what: str) -> bytes:
        """`size` bytes from `offset`; `what` names them in the error when they are not there."""
        self.check(offset, size, what)
        return self.data[offset : offset + size]

    def check(self, offset: int, size: int, what: str) -> None:
        """That there are `size` bytes at `offset`, without reading them."""
        if offset < 0 or size < 0 or offset + size > len(self):
            raise self.bad(f"{what} ({size} bytes at {offset}) goes beyond the end ({len(self)} bytes)")

    def number(self, layout: struct.Struct, offset: int, what: str) -> int:
        """The only integer of `layout` at `offset`."""
        return self.unpack(layout, offset, what)[0]

    def unpack(self, layout: struct.Struct, offset: int, what: str) -> tuple[int, ...]:
        """The integers of `layout` at `offset`."""
        return layout.unpack(self.cut(offset, layout.size, what))

    def table(self, layout: struct.Struct, offset: int, count: int, what: str) -> Iterator[tuple[int, ...]]:
        """`count` records of `layout`, one after the other, from `offset`."""
        return layout.iter_unpack(self.cut(offset, layout.size * count, what))

    def text(self, offset: int, what: str) -> str:
        """The NUL-terminated name at `offset`. Bytes that are not UTF-8 survive as surrogates."""
        if not 0 <= offset < len(self.data):
            raise self.bad(f"{what} at {offset} is outside its table of {len(self.data)} bytes")
        end = self.data.find(b"\0", offset, offset + LONGEST_NAME)
        if end < 0:
            raise self.bad(f"{what} at {offset} has no end")
        return decode_name(self.data[offset:end])


def decode_name(raw: bytes) -> str:
    """Bytes of a name as text; `encode_name` gives the same bytes back, whatever they were."""
    return raw.decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes:
    """Text of a name as the bytes that stand in the file."""
    return name.encode("utf-8", "surrogateescape")


class Cursor:
    """Reads forward over bytes; running past the end is a `FormatError`."""

    __slots__ = ("at", "window")

    def __init__(self, data: bytes, where: str) -> None:
        self.window = Window(data, where)
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.window) - self.at

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        piece = self.window.cut(self.at, size, what)
        self.at += size
        return piece

    def byte(self, what: str) -> int:
        """The next byte."""
        return self.take(1, what)[0]

    def number(self, what: str, *, bits: int = 32) -> int:
        """The next LEB128 number. A signed one is only ever skipped, so its sign is not told."""
        value = 0
        for shift in range(0, bits, 7):
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the continuation bit
                return value
        raise self.window.bad(f"{what} at {self.at} is no LEB128 number of {bits} bits")

    def sized(self, what: str) -> bytes:
        """The next part, which starts with its size."""
        return self.take(self.number(what), what)

    def name(self, what: str) -> str:
        """The next name: its length, then UTF-8."""
        return decode_name(self.sized(what))

    def part(self, what: str) -> Cursor:
        """A cursor over the next part, which starts with its size."""
        return Cursor(self.sized(what), self.window.where)

    def count(self, what: str) -> range:
        """The length of the list that follows. Every entry takes a byte or more, so there cannot be more than bytes."""
        length = self.number(what)
        if length > self.left:
            raise self.window.bad(f"{what}: {length} entries in {self.left} bytes")
        return range(length)


_BLOCK_BYTES = 1 << 16


class FileWindow(Window):
    """A regular file, or a part of one, that is too large to be in memory: what is asked for is read.

    The caller closes the descriptor. Without a size all that follows `start` is meant.
    """

    __slots__ = ("_block", "_block_at", "_descriptor", "_size", "_start")

    def __init__(self, descriptor: int, where: str, start: int = 0, size: int | None = None) -> None:
        super().__init__(b"", where)
        self._descriptor = descriptor
        self._start = start
        self._size = os.fstat(descriptor).st_size - start if size is None else size
        self._block, self._block_at = b"", 0

    def __len__(self) -> int:
        return self._size

    def bad(self, what: str, *, hint: str | None = None) -> FormatError:
        """See `Window`; such files are fetched, and not built."""
        return super().bad(what, hint=hint or "it is damaged, or its download was not complete: get it again")

    def part(self, start: int, size: int, what: str) -> FileWindow:
        """A part of this one, whose offsets begin at 0."""
        self.check(start, size, what)
        return FileWindow(self._descriptor, f"{self.where}({what})", self._start + start, size)

    def cut(self, offset: int, size: int, what: str) -> bytes:
        """See `Window`."""
        self.check(offset, size, what)
        at = offset - self._block_at
        if not 0 <= at <= len(self._block) - size:
            wanted = max(size, min(_BLOCK_BYTES, self._size - offset))
            self._block, self._block_at, at = os.pread(self._descriptor, wanted, self._start + offset), offset, 0
            if len(self._block) < size:
                raise self.bad(f"{what} cannot be read: the file has become shorter")
        return self._block[at : at + size]
