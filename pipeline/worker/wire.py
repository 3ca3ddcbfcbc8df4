"""Frames of JSON over a socket, each with its length before it: how `client` and the children of `server` talk."""

from __future__ import annotations

import json
import socket
import struct

from pipeline.action import Json


def frame(value: Json) -> bytes:
    """One value as it goes over the wire: eight bytes of length, big-endian, then JSON in UTF-8.

    Raises:
        TypeError, ValueError: JSON cannot carry the value.
    """
    body = json.dumps(value).encode()
    return struct.pack(">Q", len(body)) + body


def receive(channel: socket.socket) -> Json | None:
    """Read one frame; None when the other end went away before the frame was whole."""
    head = _read(channel, 8)
    body = _read(channel, struct.unpack(">Q", head)[0]) if head else None
    return None if body is None else json.loads(body)


def _read(channel: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            piece = channel.recv(min(size - len(data), 1 << 20))
        except ConnectionError:
            return None
        if not piece:
            return None
        data += piece
    return bytes(data)
