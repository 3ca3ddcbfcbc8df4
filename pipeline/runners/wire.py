r"""The protocol between Slipway and a program that has a model: words in ASCII, each line followed by its bytes.

Slipway asks, the program answers each request once, in order, on its standard output; what it prints for people goes
to standard error. It is simple enough to be written in any language in a hundred lines (`programs/`).

    program:   ready 1 <bytes>\n<what stands for the real machine, or nothing>
               or, before it ends, one of
               lacks <bytes>\n<what is missing here>\n<how to get it>
               unsuited <bytes>\n<what the model needs that this kind of machine has not>\n<what to do>
               failed <bytes>\n<why the model cannot be loaded>
    Slipway:   call <function> <count>\n  then that many values      a function of the model
               runtime <function> <count>\n  then that many values   a function of TVM's runtime
               parameters - 1\n  then one text                       the folder with tensor-cache.json
    program:   done <nanoseconds>\n  then one value
               failed <bytes>\n<what went wrong>
    value:     tensor <dtype> <rank> <extent>...\n<little-endian bytes>
               shape <rank> <extent>...\n
               int <n>\n    float <x>\n    none\n
               text <bytes>\n<UTF-8>
               array <count>\n  then that many values
               parameter <bytes>\n<name>                             only to the program
               held <number>\n                                       an object that stays there

A program ends when its standard input does. Whatever else it says or does is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.compilers.tensor_cache import as_dtype
from pipeline.errors import StepError

from .machine import Held, Parameter, Value

VERSION = 1

MOST_BYTES = 1 << 32
"""More than this in one value is a broken program, not a result."""

_MOST_ITEMS, _DEEPEST = 1 << 20, 16
"""Of an array, and arrays in one another."""

_DTYPE = re.compile(r"bool|u?int\d+|b?float\d\w*")
_LONGEST_LINE = 4096


class Source(Protocol):
    """What a program says."""

    def line(self, most: int) -> bytes:
        """The next line, with its end, of at most so many bytes."""

    def exactly(self, size: int) -> bytes:
        """The next so many bytes."""


def request(verb: str, name: str, arguments: Sequence[Value]) -> Iterator[bytes]:
    """The parts of a request."""
    if not name.isascii() or not name.isprintable() or " " in name or not name:
        raise StepError(f"{name!r} cannot be the name of a function", hint="correct the recipe's check")
    yield f"{verb} {name} {len(arguments)}\n".encode()
    for argument in arguments:
        yield from encode(argument)


def encode(value: Value) -> Iterator[bytes]:
    """The parts of a value.

    Raises:
        StepError: it is of a kind that no model takes.
    """
    if isinstance(value, Held):
        yield f"held {value.number}\n".encode()
    elif isinstance(value, Parameter):
        yield from _text("parameter", value.name)
    elif isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield f"tensor {array.dtype.name} {array.ndim} {' '.join(map(str, array.shape))}".rstrip().encode() + b"\n"
        yield array.tobytes()
    elif isinstance(value, tuple) and all(isinstance(extent, int) for extent in value):
        yield f"shape {len(value)} {' '.join(map(str, value))}".rstrip().encode() + b"\n"
    elif isinstance(value, bool | int):
        yield f"int {int(value)}\n".encode()
    elif isinstance(value, float):
        yield f"float {value!r}\n".encode()
    elif isinstance(value, str):
        yield from _text("text", value)
    elif value is None:
        yield b"none\n"
    elif isinstance(value, list | tuple):
        yield f"array {len(value)}\n".encode()
        for item in value:
            yield from encode(item)
    else:
        what = f"a {type(value).__name__} cannot be given to a model"
        raise StepError(
            what, hint="give numpy arrays, tuples of int for shapes, numbers, texts, or what a call returned"
        )


def _text(kind: str, text: str) -> Iterator[bytes]:
    data = text.encode()
    yield f"{kind} {len(data)}\n".encode()
    yield data


def words(source: Source, kinds: Iterable[str]) -> list[str]:
    """The next line, split; its first word is one of `kinds`.

    Raises:
        StepError: it is not: the program printed something on the channel that is not for people.
    """
    line = source.line(_LONGEST_LINE)
    found = line.decode("ascii", "replace").split() or [""]
    if found[0] not in kinds or not line.endswith(b"\n"):
        raise no_answer(line[:80])
    return found


def no_answer(said: bytes) -> StepError:
    """The error for what is none, or was not asked for."""
    text = said.decode("utf-8", "replace")
    return StepError(f"the program said {text!r}, which is no answer", hint="it must print for people on stderr only")


def decode(source: Source, depth: int = 0) -> Value:  # noqa: PLR0911 - one return a kind of value
    """The next value, which is in so many arrays.

    Raises:
        StepError: it is malformed.
    """
    kind, *rest = words(source, ("tensor", "shape", "int", "float", "none", "text", "array", "held"))
    try:
        if kind == "tensor":
            return _tensor(source, rest[0], _extents(rest[1:]))
        if kind == "shape":
            return _extents(rest)
        if kind == "array":
            return [decode(source, depth + 1) for _ in range(_count(rest[0], _MOST_ITEMS if depth < _DEEPEST else 0))]
        if kind == "text":
            return source.exactly(_count(rest[0])).decode()
        if kind == "none":
            return None
        if kind == "held":
            return Held(int(rest[0]))
        return int(rest[0]) if kind == "int" else float(rest[0])
    except (ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise StepError(f"the program gave a malformed {kind}: {error}", hint="correct the program") from error


def _extents(found: list[str]) -> tuple[int, ...]:
    extents = tuple(map(int, found[1:]))
    if int(found[0]) != len(extents):
        raise ValueError(f"{len(extents)} extents where {found[0]} were announced")
    return extents


def _count(word: str, most: int = MOST_BYTES) -> int:
    count = int(word)
    if not 0 <= count <= most:
        raise ValueError(f"{count} is too many")
    return count


def _tensor(source: Source, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if not _DTYPE.fullmatch(dtype):
        raise ValueError(f"{dtype!r} is no dtype of a tensor")
    kind = as_dtype(dtype)
    if any(extent < 0 for extent in shape):
        raise ValueError(f"the shape {list(shape)}")
    data = source.exactly(_count(str(math.prod(shape) * kind.itemsize)))
    return np.frombuffer(data, kind).reshape(shape)
