"""Protocol buffers on the wire: the fields of a message, without its schema. `onnx` and the store's records use it."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MORE = 0x80
_WIDEST = 70


def fields(message: bytes | mmap, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, kind, start, end) of every field of the message that lies in these bytes.

    Raises:
        ValueError: they are no message.
    """
    at, end = start, len(message) if end is None else end
    while at < end:
        tag, at = _read_varint(message, at, end)
        kind = tag & 7
        if kind == VARINT:
            stop = _read_varint(message, at, end)[1]
        elif kind == BYTES:
            size, at = _read_varint(message, at, end)
            stop = at + size
        elif kind in {FIXED32, FIXED64}:
            stop = at + (4 if kind == FIXED32 else 8)
        else:
            raise ValueError(f"there is no field of kind {kind}")
        if stop > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, kind, at, stop
        at = stop


def varint(value: int) -> bytes:
    """A whole number as the wire has it."""
    out = bytearray()
    while value >= _MORE:
        out.append(value & (_MORE - 1) | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes | mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < _WIDEST:
        byte = data[at]
        at += 1
        value |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            return value, at
        shift += 7
    raise ValueError("a number does not end")
