"""What a client and the children of a server say to each other: one frame of JSON each, with its length before it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline.documents.codec import decode, encode
from pipeline.errors import Position

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A function, `module:name`, and its arguments by name."""

    function: str
    arguments: Mapping[str, object]


@dataclass(frozen=True)
class Request:
    """What a child is asked to do.

    Attributes:
        call: its result is the answer.
        cpu_limit: CPU seconds it may take.
        stage: the result stays in the child as a state.
        after: is run before, in the same process, and its result is the first argument of `call`.
    """

    call: Call
    cpu_limit: float | None = None
    stage: bool = False
    after: Call | None = None


@dataclass(frozen=True)
class Failure:
    """An exception: the class in our tree that it is or becomes, and its fields."""

    type: str
    what: str
    where: Position | str | None = None
    hint: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a child used: CPU seconds, and the peak of resident bytes of its largest process."""

    cpu: float = 0.0
    peak: int = 0


@dataclass(frozen=True)
class Reply:
    """A child's answer.

    Attributes:
        value: what the function returned, encoded.
        failure: or what it raised.
        stage: or what the state has cost that it keeps.
    """

    value: object = None
    failure: Failure | None = None
    stage: Cost | None = None


@dataclass(frozen=True)
class Exit:
    """How a child ended, as whoever forked it saw.

    Attributes:
        status: as of `os.waitstatus_to_exitcode`; None where nobody saw the end.
        cost: of all of it.
        refused: why there was no child.
    """

    status: int | None = None
    cost: Cost = Cost()
    refused: str | None = None


def frame(message: Request | Reply) -> bytes:
    """One message as it goes over the wire: eight bytes of length, big-endian, then JSON in UTF-8.

    Raises:
        TypeError, ValueError: JSON cannot carry it.
    """
    body = json.dumps(encode(message)).encode()
    return number(len(body)) + body


def receive(channel: socket.socket, kind: type[T]) -> T | None:
    """Read one message; None when the other end went away before it was whole."""
    size = receive_number(channel)
    body = None if size is None else _read(channel, size)
    return None if body is None else decode(kind, json.loads(body), kind.__name__)


def number(value: int) -> bytes:
    """A number as it goes over the wire."""
    return struct.pack(">Q", value)


def receive_number(channel: socket.socket) -> int | None:
    """Read a number; None when the other end went away before it was whole."""
    data = _read(channel, 8)
    return None if data is None else int(struct.unpack(">Q", data)[0])


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
