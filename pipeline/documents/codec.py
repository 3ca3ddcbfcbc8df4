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
from typing import Any, ClassVar, TypeVar, cast

from pipeline.errors import FormatError
from pipeline.files import NotRegularError, read_file

from . import untrusted

T = TypeVar("T")
D = TypeVar("D", bound="Document")


def encode(value: object, *, whole: bool = False) -> Any:
    """JSON of a value: a dataclass becomes an object of its fields, a tuple an array, a path a text.

    Left out are optional fields that are None, so a new optional field changes no key; and those with `compare=False`
    (a position in a file), which say nothing about what a value is, unless it is to be whole.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((one, getattr(value, one.name)) for one in dataclasses.fields(value) if one.compare or whole)
        said = {one.name: inner for one, inner in fields if inner is not None or one.default is not None}
        return {name: encode(inner, whole=whole) for name, inner in said.items()}
    if isinstance(value, Mapping):
        return {str(name): encode(inner, whole=whole) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encode(inner, whole=whole) for inner in value]
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
        return decode(kind, untrusted.parse(read_file(path, untrusted.LARGEST_BYTES), str(path)), str(path))
    except NotRegularError as error:
        raise FormatError("is not a regular file", where=path) from error


class Document:
    """A value with a file of its own, which is called `NAME` in every directory that has one. A dataclass."""

    NAME: ClassVar[str]

    @classmethod
    def read(cls: type[D], folder: Path) -> D:  # noqa: PYI019 - Python 3.10 has no Self
        """The document in a directory. Raises what `load` does."""
        return load(cls, folder / cls.NAME)

    def write(self, folder: Path) -> None:
        """Write it into a directory."""
        (folder / self.NAME).write_text(dumps(self), encoding="utf-8")


_WANTED: Mapping[object, str] = {
    str: "a text", bool: "true or false", int: "a whole number", float: "a number", Path: "a path",
}  # fmt: skip


def decode(kind: type[T], data: object, place: str) -> T:
    """Build a value of a type from its JSON; fields that the type does not know are ignored.

    Raises:
        FormatError: the data has another shape; `place` and the field are named.
    """
    return cast("T", _decode(kind, data, place))


def _decode(kind: object, data: object, place: str) -> object:  # noqa: PLR0911 - one return a kind of type
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        return _either(arguments, data, place)
    if origin is typing.Literal and data not in arguments:
        raise _refusal(data, place, f"one of {', '.join(map(str, arguments))}")
    if origin is tuple:
        return tuple(_items(arguments, data, place))
    if origin in {list, Sequence}:
        return _items((*arguments, ...), data, place)
    if origin in {dict, Mapping}:
        return {name: _decode(arguments[1], one, f"{place}.{name}") for name, one in _members(data, place).items()}
    if not isinstance(kind, type) or kind in {Any, object, type(None)}:
        return data
    if dataclasses.is_dataclass(kind):
        return _instance(kind, _members(data, place), place)
    if hasattr(kind, "_fields"):
        return kind(*_items(tuple(typing.get_type_hints(kind).values()), data, place))
    if isinstance(data, bool) is (kind is bool):
        if isinstance(data, kind):
            return data
        if isinstance(data, {float: int, Path: str}.get(kind, ())):
            return kind(data)
    raise _refusal(data, place, _WANTED.get(kind, kind.__name__))


def _members(data: object, place: str) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise _refusal(data, place, "an object")
    return data


def _items(kinds: tuple[object, ...], data: object, place: str) -> list[object]:
    """An array: of as many values as there are kinds, or of any number where an ellipsis stands behind the first."""
    if not isinstance(data, list):
        raise _refusal(data, place, "an array")
    if kinds[1:] == (...,):
        kinds = kinds[:1] * len(data)
    if len(data) != len(kinds):
        raise _refusal(data, place, f"{len(kinds)} values")
    return [_decode(one, part, f"{place}[{i}]") for i, (one, part) in enumerate(zip(kinds, data, strict=True))]


def _instance(kind: type, data: Mapping[str, object], place: str) -> object:
    values = {}
    for one, annotation in _fields(kind):
        if one.name in data:
            values[one.name] = _decode(annotation, data[one.name], f"{place}.{one.name}")
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise FormatError(f"`{one.name}` is missing", where=place)
    return kind(**values)


@cache
def _fields(kind: type) -> tuple[tuple[dataclasses.Field[object], object], ...]:
    annotations = typing.get_type_hints(kind)
    return tuple((one, annotations[one.name]) for one in dataclasses.fields(kind) if one.init)


def _either(kinds: tuple[object, ...], data: object, place: str) -> object:
    if data is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return _decode(kind, data, place)
            except FormatError as error:
                errors.append(error)
    raise errors[0]


def _refusal(data: object, place: str, wanted: str) -> FormatError:
    saw = "nothing" if data is None else type(data).__name__
    return FormatError(f"expected {wanted}, found {saw}", where=place)
