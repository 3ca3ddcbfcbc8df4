"""Frozen dataclasses as JSON and back: the one place where values of ours become key documents and files.

The engine encodes the parameters of an action for its key; the documents beside this module read and write themselves
with it. It uses the standard library only, since compile workers import it in foreign interpreters.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from typing_extensions import Self

from pipeline.errors import FormatError
from pipeline.files import NotRegularError, read_file

from . import untrusted

T = TypeVar("T")


def encode(value: object) -> Any:
    """JSON of a value: a dataclass becomes an object of its fields, a tuple an array, a path a text.

    Left out are fields with `compare=False` (a position in a file), which say nothing about what a value is, and
    optional ones that are None: so a new optional field changes no key.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((one, getattr(value, one.name)) for one in dataclasses.fields(value) if one.compare)
        return {one.name: encode(inner) for one, inner in fields if inner is not None or one.default is not None}
    if isinstance(value, Mapping):
        return {str(name): encode(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encode(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object) -> str:
    """The text of a document as it lies on the disk: indented by one space, not escaped, with a final newline."""
    return json.dumps(encode(value), indent=1, ensure_ascii=False) + "\n"


def load(kind: type[T], path: Path) -> T:
    """Read a document from its file.

    Raises:
        FormatError: the file is no such document; the message names the field.
        OSError: it cannot be read.
    """
    try:
        value: T = decode(kind, untrusted.parse(read_file(path, untrusted.LARGEST_BYTES), str(path)), str(path))
    except NotRegularError as error:
        raise FormatError("is not a regular file", where=path) from error
    return value


D = TypeVar("D", bound="Document")


class Document:
    """A value with a file of its own, which has the same name in every directory that has one. A dataclass.

    Attributes:
        NAME: of the file.
    """

    NAME: ClassVar[str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The document in a directory. Raises what `load` does."""
        return load(cls, folder / cls.NAME)

    def write(self, folder: Path) -> None:
        """Write it into a directory."""
        (folder / self.NAME).write_text(dumps(self), encoding="utf-8")


def decode(kind: Any, data: Any, place: str) -> Any:  # noqa: PLR0911 - one return a kind of type
    """Build a value of a type from its JSON; fields that the type does not know are ignored.

    Raises:
        FormatError: the data has another shape; `place` and the field are named.
    """
    if dataclasses.is_dataclass(kind):
        return _object(kind, data, place)
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        fields = types.GenericAlias(tuple, tuple(typing.get_type_hints(kind).values()))
        return kind(*decode(fields, data, place))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        return _either(arguments, data, place)
    if origin is typing.Literal:
        return _demand(data in arguments, data, place, f"one of {', '.join(map(str, arguments))}")
    if origin is tuple:
        _demand(isinstance(data, list), data, place, "an array")
        if arguments[1:] == (...,):
            return tuple(decode(arguments[0], one, f"{place}[{i}]") for i, one in enumerate(data))
        _demand(len(data) == len(arguments), data, place, f"{len(arguments)} values")
        return tuple(
            decode(one, part, f"{place}[{i}]") for i, (one, part) in enumerate(zip(arguments, data, strict=True))
        )
    if origin in {list, Sequence}:
        _demand(isinstance(data, list), data, place, "an array")
        return [decode(arguments[0], one, f"{place}[{i}]") for i, one in enumerate(data)]
    if origin is not None and issubclass(origin, Mapping):
        _demand(isinstance(data, dict), data, place, "an object")
        return {name: decode(arguments[1], inner, f"{place}.{name}") for name, inner in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if kind is Any or kind is object or kind is None or kind is type(None):
        return data
    if kind is Path:
        return Path(_demand(isinstance(data, str), data, place, "a path"))
    right = isinstance(data, kind) and (kind is bool or not isinstance(data, bool))
    return _demand(
        right,
        data,
        place,
        {"str": "a text", "int": "a whole number", "float": "a number"}.get(kind.__name__, kind.__name__),
    )


def _object(kind: Any, data: Any, place: str) -> Any:
    _demand(isinstance(data, dict), data, place, "an object")
    values = {}
    for one, annotation in _fields(kind):
        if one.name in data:
            values[one.name] = decode(annotation, data[one.name], f"{place}.{one.name}")
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise FormatError(f"`{one.name}` is missing", where=place)
    return kind(**values)


@cache
def _fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    annotations = typing.get_type_hints(kind)
    return tuple((one, annotations[one.name]) for one in dataclasses.fields(kind) if one.init and one.compare)


def _either(kinds: tuple[Any, ...], data: Any, place: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    error: FormatError | None = None
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return decode(kind, data, place)
        except FormatError as refused:
            error = error or refused
    raise error or FormatError("a value is expected", where=place)


def _demand(right: bool, data: Any, place: str, wanted: str) -> Any:
    if not right:
        saw = "nothing" if data is None else type(data).__name__
        raise FormatError(f"expected {wanted}, found {saw}", where=place)
    return data
