"""A JSON Schema as a value: `loader` finds in it what a file could have said, `reference` the keys of a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from .document import Steps


class Node(BaseModel):
    """One schema, as far as anybody looks at it; the words are those of JSON Schema."""

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
