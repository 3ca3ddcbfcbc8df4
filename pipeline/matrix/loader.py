"""Reading `targets.yaml`: what the classes of `schema` refuse becomes a place, a sentence and a hint.

`load` calls `read`; what the parts of the file mean to each other is checked in `expand`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from pipeline import __version__
from pipeline.errors import MatrixError, Position

from .diagnostics import Diagnostics, suggest
from .document import Document, Steps
from .fields import MEANINGS
from .schema import VERSION, Targets
from .weights_schema import WEIGHT_KINDS, WEIGHT_TAGS

M = TypeVar("M", bound=BaseModel)

_EXPLAINED = 200
"""Errors of the schema that are put into words: far more than are shown."""

SEE_SCHEMA = "doit init --schema writes .slipway/targets.schema.json, which describes every key"
"""A wheel has no documentation."""

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "an integer",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}

_BOUNDS = {
    "greater_than": ("exclusive_minimum", "more than"),
    "greater_than_equal": ("minimum", "at least"),
    "less_than": ("exclusive_maximum", "less than"),
    "less_than_equal": ("maximum", "at most"),
}
"""Error of pydantic -> the field of `Node` for that bound, and our words."""


class Node(BaseModel):
    """A JSON Schema, as far as anybody looks at it; the words are its own. The reference is made of it, too."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)

    ref: str = Field(default="", alias="$ref")
    definitions: Mapping[str, Node] = Field(default={}, alias="$defs")
    type: str | tuple[str, ...] = ""
    description: str = ""
    default: JsonValue = None
    const: JsonValue = None
    enum: tuple[JsonValue, ...] = ()
    pattern: str | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    exclusive_minimum: int | float | None = None
    exclusive_maximum: int | float | None = None
    items: Node | None = None
    properties: Mapping[str, Node] = {}
    pattern_properties: Mapping[str, Node] = {}
    additional_properties: Node | bool = True
    required: tuple[str, ...] = ()
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    all_of: tuple[Node, ...] = ()

    def at(self, path: Steps) -> Iterator[Node]:
        """The schemas that the value at a path of the document may follow; a step `<Class>` leads to its schema."""
        here: list[Node] = [self]
        for step in path:
            named = self.definitions.get(step[1:-1]) if isinstance(step, str) and step.startswith("<") else None
            ways = (way for one in here for way in self._alternatives(one))
            here = [named] if named is not None else [child for way in ways for child in way.children(step)]
        for one in here:
            yield from self._alternatives(one)

    def _alternatives(self, one: Node) -> Iterator[Node]:
        if one.ref:
            yield from self._alternatives(self.definitions[one.ref.rpartition("/")[2]])
            return
        yield one
        for part in (*one.any_of, *one.one_of, *one.all_of):
            yield from self._alternatives(part)

    def children(self, step: str | int) -> Iterator[Node]:
        """The schemas of what is at a key or an index of this one."""
        if isinstance(step, int):
            yield from () if self.items is None else (self.items,)
        elif step in self.properties:
            yield self.properties[step]
        else:
            yield from self.pattern_properties.values()


class _Context(BaseModel):
    """What pydantic says of an error besides its kind, as far as it is told."""

    what: str = ""
    hint: str = ""
    pattern: str = ""
    expected: str = ""
    item: int | None = None


def read(path: Path) -> tuple[Targets, Document]:
    """Read a matrix file and check everything that can be seen in one place.

    Returns:
        The validated file, and the document that knows its positions.

    Raises:
        MatrixError: with every problem found, or only the version's where that one is newer.
    """
    document = Document.read(path)
    if document.value is None:
        hint = "doit init example writes a project to copy from, into a folder of its own"
        raise MatrixError("the file is empty", where=Position(document.file, 1, 1), hint=hint)
    version = document.value.get("version") if isinstance(document.value, dict) else None
    if type(version) is int and version > VERSION:
        raise MatrixError(
            f"this file is of version {version}, and Slipway {__version__} understands version {VERSION} alone",
            where=document.at(["version"]),
            hint=f"write `version: {VERSION}`, or take the newer Slipway that it was written for",
        )
    problems = Diagnostics(document)
    targets = validate(Targets, document.value, problems)
    problems.raise_if_any()
    assert targets is not None  # noqa: S101 - otherwise there was a problem
    return targets, document


def validate(model: type[M], value: object, problems: Diagnostics, at: Steps = ()) -> M | None:
    """Validate `value`, found at `at` in the document; None when something was wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as bad:
        for error in islice(bad.errors(include_url=False), _EXPLAINED):
            _explain(model, error, problems, at)
        return None


def _explain(model: type[BaseModel], error: ErrorDetails, problems: Diagnostics, at: Steps) -> None:
    """Diagnostics one error of pydantic in our words."""
    kind, value, place = error["type"], error["input"], error["loc"]
    context = _Context.model_validate(error.get("ctx", {}))
    inner = tuple(step for step in place if step != "[key]")
    path = (*at, *(step for step in inner if step not in WEIGHT_TAGS))
    if kind != "missing":  # where a short form was written, what it is short for has keys that the file has not
        path = tuple(problems.document.reached(path))
    if kind == "extra_forbidden":
        known = {key for way in _schema(model).at(inner[:-1]) for key in way.properties} - {str(path[-1])}
        problems.add(path, "unknown key", suggest(str(path[-1]), known, "keys"), key=True)
    elif kind == "missing":
        parent = path[:-1]
        only = next((way.const for way in _schema(model).at(inner) if way.const is not None), "")
        problems.add(parent, f"the key `{path[-1]}` is missing", f"add `{path[-1]}: {only}".rstrip() + "`", key=True)
    elif kind == "slipway":
        path = path if context.item is None else (*path, context.item)
        problems.add(path, context.what, context.hint, key=isinstance(value, dict))
    elif kind == "source_kind":
        problems.add(path, error["msg"], f"give one of {', '.join(WEIGHT_KINDS)}", key=True)
    elif kind == "string_pattern_mismatch":
        what, hint = MEANINGS[context.pattern]
        problems.add(path, f"`{value}` {what}", hint, key="[key]" in place)
    elif kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context.expected) or [context.expected]
        quoted = isinstance(value, str) and value in choices  # only a number can look right and be wrong
        hint = "write it without quotes" if quoted else suggest(str(value), choices, "values")
        problems.add(path, f"`{problems.document.written(path) or _named(value)}` is not possible here", hint)
    elif kind in _EXPECTED:
        _explain_type(_EXPECTED[kind], path, value, problems, list(_schema(model).at(inner)))
    elif kind in _BOUNDS:
        asked = [(words, getattr(way, key)) for way in _schema(model).at(inner) for key, words in _BOUNDS.values()]
        bounds = [f"{words} {bound}" for words, bound in asked if bound is not None]
        problems.add(path, f"`{value}` is out of bounds", f"write a number that is {' and '.join(bounds)}")
    elif kind in {"too_short", "string_too_short"}:
        problems.add(path, "this is empty", "name at least one, or remove the key", key=True)
    else:
        problems.add(path, error["msg"], SEE_SCHEMA)


def _explain_type(expected: str, path: Steps, value: object, problems: Diagnostics, ways: list[Node]) -> None:
    """Say what was expected, and how this very value would be written. `ways` are the schemas that it could follow."""
    written = problems.document.written(path)
    if expected == "text" and written and not isinstance(value, str):
        missed = [way.pattern for way in ways if way.pattern and not re.search(way.pattern, written)]
        if missed and missed[0] in MEANINGS:  # quotes would only lead to this
            what, hint = MEANINGS[missed[0]]
            problems.add(path, f"`{written}` {what}", hint)
        else:
            problems.add(path, f"{written} is {_named(value)} to YAML, not text", f'write it in quotes: "{written}"')
        return
    hint = SEE_SCHEMA
    if expected == "a list" and isinstance(value, str):
        words = value.split() if path[-1] == "command" and not {"'", '"', "\\"} & set(value) else [value]
        hint = f"write it in brackets: [{', '.join(words)}]"
    elif expected == "a mapping" and value is None:
        hint = "write below it, further to the right, what belongs to it, or remove the key"
    elif expected == "a mapping" and written:
        keys = [key for way in ways for key in way.properties if way.additional_properties is False]
        quoted = written if not isinstance(value, bool) else f'"{written}"'
        hint = f"write keys and values: {{{keys[0] if keys else 'dtype'}: {quoted}}}"
    problems.add(path, f"expected {expected}, not {_named(value)}", hint)


def _named(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a mapping"


@cache
def _schema(model: type[BaseModel]) -> Node:
    return Node.model_validate(model.model_json_schema())
