"""What a client and the children of a server say to each other: one frame of JSON each, with its length before it.

Exceptions are told by `describe` in the child and made again by `rebuild` in the doit process: pickle is never loaded
from anywhere.
"""

from __future__ import annotations

import json
import socket
import struct
import sysconfig
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline import errors
from pipeline.documents.codec import decode, encode
from pipeline.errors import Position, SlipwayError, StepError

T = TypeVar("T")

LINES = 8
"""How much of a foreign exception's text reaches the user; the rest is in the log, with the traceback."""

_OURS = (Path(errors.__file__).parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")))
_TREE = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SlipwayError)
}


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
    """A child's answer: what the function returned, encoded, or raised; or what the state that it keeps has cost."""

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


def describe(error: BaseException) -> Failure:
    """Say what `rebuild` needs: a `SlipwayError` keeps its class and fields, anything else becomes a StepError.

    The place of a foreign exception is the innermost line of the *user's* code (a recipe, not a library it called),
    because that is the line the user can change.
    """
    if isinstance(error, SlipwayError):
        where = error.where
        return Failure(
            type=next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _TREE),
            what=error.what,
            where=str(where) if isinstance(where, Path) else where,
            hint=error.hint,
            log=None if error.log is None else str(error.log),
        )
    lines = str(error).strip().splitlines()
    text = "\n".join(lines[:LINES] + ["…"] * (len(lines) > LINES))
    name = type(error).__name__
    return Failure("StepError", f"{name}: {text}" if text else name, where=_place(error))


def rebuild(failure: Failure, log: Path | None = None) -> SlipwayError:
    """Make the exception again; `log` is the caller's, if it has one, for errors that name none of their own."""
    kind = _TREE.get(failure.type, StepError)
    if failure.log:
        log = Path(failure.log)
    elif not issubclass(kind, StepError):
        log = None
    return kind(failure.what, where=failure.where, hint=failure.hint, log=log)


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"  # the file that is wrong never became a frame
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return next((f"{file}:{line}" for file, line in reversed(frames) if _is_users(file)), None)


def _is_users(file: str) -> bool:
    path = Path(file)
    is_library = {"site-packages", "dist-packages"} & {*path.parts} or any(map(path.is_relative_to, _OURS))
    return path.is_file() and not is_library
