"""A YAML file as plain values, with the position of every key and value; `loader` and `presets` read files by it.

PyYAML's own loaders throw positions away and take the last of two equal keys. This one keeps the node graph, so that a
path into the value leads back to a line and a column, and it collects what is wrong instead of stopping at the first.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipeline.documents import untrusted
from pipeline.errors import MatrixError, Position
from pipeline.transport.http import redact

Steps = Sequence[str | int]
"""A path into a document: keys of mappings and indices of lists."""

LARGEST_BYTES = 4 << 20
DEEPEST = 100
"""Levels of nesting. PyYAML and its C part recurse, and would end the process instead of complaining."""

LARGEST = 100_000
"""Values that are read, each counted as often as an alias repeats it: a few lines of aliases can stand for billions."""

LONGEST_NUMBER = untrusted.LONGEST_NUMBER
LONGEST_MESSAGE = 600
"""Characters of a sentence; what a file says is quoted, and may be megabytes."""

_MAP, _SEQ, _MERGE, _STR = (f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "merge", "str"))
_NUMBERS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float"))
_ODD_NUMBER = re.compile(r".*:|[+-]?0[0-9_o]+\Z").match
"""Numbers to base 60 and 8, as YAML has them: 16:9 is 969 to YAML 1.1, and 010 and 0o10 are 8."""

_BASE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = type("_LOADER", (_BASE,), {})
"""PyYAML's loader, with the numbers of YAML 1.2 and JSON that are text to YAML 1.1 (`1e-3`); see quirk YAML-3."""

for _tag, _pattern in (
    ("int", r"[-+]?(?:0o)?[0-9]+\Z"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
):
    yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list("-+.0123456789"), _LOADER)


class _Mark(Protocol):
    """A position of PyYAML; its C part has a class of its own for it."""

    line: int
    column: int


class Document:
    """The single YAML document of a file.

    Attributes:
        file: the name positions carry.
        value: what is in it: None, bool, int, float (finite), str, list, and dict with str keys.
        problems: what had to be passed over to get at `value`, by its place: an alias comes there often.
    """

    def __init__(self, text: str, file: str) -> None:
        """Parse `text`.

        Raises:
            MatrixError: it is not YAML at all, holds several documents, or more than anybody writes by hand.
        """
        self.file = file
        self.problems: dict[Position, MatrixError] = {}
        self._pairs: dict[int, dict[str, tuple[Node, Node]]] = {}
        self._scalars = yaml.constructor.SafeConstructor()
        self._open: set[int] = set()
        self._read = 0
        self._root = _compose(text, file)
        self.value: object = None if self._root is None else self._plain(self._root)

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read and parse a file.

        Raises:
            MatrixError: it cannot be read, is too large, is not UTF-8, or is not YAML.
        """
        if not path.exists():
            hint = "write one with: doit init; or name another: doit targets=PATH"
            other = path.with_suffix(".yml" if path.suffix == ".yaml" else ".yaml")
            if other.is_file():
                hint = f"there is {other.name}: rename it to {path.name}, or name it: doit targets={other}"
            raise MatrixError("there is no such file", where=path, hint=hint)
        if path.is_dir():
            hint = "make it a file that you may read"
            raise MatrixError("the file cannot be read: Is a directory", where=path, hint=hint)
        data = untrusted.read(path, LARGEST_BYTES, MatrixError)
        try:
            text = data.removeprefix(untrusted.MARK).decode()
        except UnicodeDecodeError as error:
            where = Position(str(path), data[: error.start].count(b"\n") + 1, 1)
            raise MatrixError("the file is not UTF-8 text", where=where, hint="save it as UTF-8") from error
        return cls(text, str(path))

    def at(self, path: Steps, *, key: bool = False) -> Position:
        """The position of the value at `path`, or of its key.

        A path that leads nowhere gives the deepest place on the way to it: that is where a missing key is missing.
        """
        reached = self._way(path)
        if not reached:
            return _place(self.file, self._root.start_mark if self._root else None)
        name, value = reached[-1]
        return self._position(name if key else value)

    def reached(self, path: Steps) -> Steps:
        """The part of a path that is in the file."""
        return path[: len(self._way(path))]

    def written(self, path: Steps) -> str | None:
        """The text of the scalar at `path` as the human wrote it (`14.10`, not 14.1), or None for anything else."""
        reached = self._way(path)
        node = reached[-1][1] if reached and len(reached) == len(path) else None
        return str(node.value) if isinstance(node, ScalarNode) else None

    def _way(self, path: Steps) -> list[tuple[Node, Node]]:
        """The key and the value at every step of `path`, as far as it leads; items of a list are their own keys."""
        way: list[tuple[Node, Node]] = []
        node = self._root
        for step in path:
            pair = self._pairs.get(id(node), {}).get(str(step))
            if pair is None and isinstance(step, int) and isinstance(node, SequenceNode) and step < len(node.value):
                pair = (node.value[step], node.value[step])
            if pair is None:
                break
            way.append(pair)
            node = pair[1]
        return way

    def _position(self, node: Node) -> Position:
        return _place(self.file, node.start_mark)

    def _wrong(self, node: Node, what: str, hint: str) -> None:
        where = self._position(node)
        self.problems.setdefault(where, MatrixError(one_line(redact(what)), where=where, hint=one_line(redact(hint))))

    def _count(self, node: Node, values: int = 1) -> None:
        self._read += values
        if self._read > LARGEST or len(self._open) > DEEPEST:
            raise MatrixError(
                "the aliases in this file stand for too much", where=self._position(node), hint="use fewer"
            )

    def _plain(self, node: Node) -> object:
        if id(node) in self._open:
            self._wrong(node, "this value contains itself", "write out what is meant instead of the alias")
            return None
        self._count(node)
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode) and node.tag == _MAP:
                return {key: self._plain(value) for key, (_, value) in self._read_pairs(node).items()}
            if isinstance(node, SequenceNode) and node.tag == _SEQ:
                return [self._plain(item) for item in node.value]
            return self._scalar(node)
        finally:
            self._open.discard(id(node))

    def _read_pairs(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        """Keys of a mapping with `<<` merged in; remembers them for `at`, and notes duplicates and odd keys."""
        if id(node) in self._pairs:
            return self._pairs[id(node)]
        merged: dict[str, tuple[Node, Node]] = {}
        own: dict[str, tuple[Node, Node]] = {}
        self._pairs[id(node)] = own  # also ends the recursion of a mapping that merges itself
        for key, value in node.value:
            if key.tag == _MERGE:
                for other in value.value if isinstance(value, SequenceNode) else [value]:
                    if isinstance(other, MappingNode):
                        merged = {**self._read_pairs(other), **merged}
                        self._count(node, len(merged))
                    else:
                        self._wrong(other, "`<<` merges mappings only", "give it an alias of a mapping")
                continue
            if not isinstance(key, ScalarNode):
                self._wrong(key, "a list or a mapping cannot be a key", "write a name")
                continue
            name = self._text(key)
            if key.tag != _STR:
                self._wrong(key, f"the key {name} is not text", f'write it in quotes: "{name}"')
            if name in own:
                first = self._position(own[name][0])
                self._wrong(key, f"duplicate key `{name}`", f"keep one; the first is in line {first.line}")
                continue
            own[name] = (key, value)
        own.update({name: pair for name, pair in merged.items() if name not in own})
        return own

    def _scalar(self, node: Node) -> object:
        """A scalar as JSON. Anything YAML can say and JSON cannot is noted, and its text stands in for it."""
        text = self._text(node)
        try:
            if not isinstance(node, ScalarNode):
                raise yaml.constructor.ConstructorError  # noqa: TRY301 - said like any other
            if node.tag in _NUMBERS and len(text) > LONGEST_NUMBER:
                length, text = len(text), f"{text[:40]}…"
                raise ValueError(f"it has {length} characters")  # noqa: TRY301 - said like any other
            value = self._scalars.construct_object(node, deep=True)
        except yaml.constructor.ConstructorError:
            self._wrong(node, f"the tag {node.tag} is not for this file", "write plain text, numbers, lists, mappings")
            return text
        except (ValueError, OverflowError) as error:
            self._wrong(node, f"{text} cannot be read: {error}", f'write it in quotes: "{text}"')
            return text
        if isinstance(value, float) and not math.isfinite(value):
            self._wrong(node, f"{text} is not a finite number", "write a finite number")
            return 0.0
        if node.tag in _NUMBERS and _ODD_NUMBER(text):
            self._wrong(node, f"{text} is {value} to YAML", f'write that, or {text} in quotes: "{text}"')
            return text
        if value is None or isinstance(value, str | bool | int | float):
            return text if isinstance(value, str) else value
        kind = "a date" if isinstance(value, dt.date) else f"a YAML {type(value).__name__}"
        self._wrong(node, f"this is {kind}, which means nothing here", f'write it in quotes: "{text}"')
        return text

    def _text(self, node: Node) -> str:
        """The text of a scalar, which can be written as UTF-8 again and be the name of a file."""
        text = str(node.value)
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            self._wrong(node, "this text holds a NUL or half of a surrogate pair", "remove that character")
            return "".join("?" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)
        return text


def one_line(text: str) -> str:
    """`text` with what would break a line, or not show, written out, and without its middle where it is very long."""
    half = LONGEST_MESSAGE // 2
    cut = text if len(text) <= LONGEST_MESSAGE else f"{text[:half]}…{text[-half:]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def _place(file: str, mark: _Mark | None) -> Position:
    """PyYAML counts from 0, editors from 1."""
    return Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)


def _compose(text: str, file: str) -> Node | None:
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > DEEPEST or count > 2 * LARGEST:
                what = "this is nested too deeply" if depth > DEEPEST else "this file says too much"
                raise MatrixError(what, where=_place(file, event.start_mark), hint="look for unclosed brackets")
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        untrusted.demand_no_conflict(text, file, MatrixError)
        place = _place(file, error.problem_mark or error.context_mark)
        if "nesting depth" in str(error.problem):  # libyaml's own limit, where it looks far ahead
            raise MatrixError("this is nested too deeply", where=place, hint="look for unclosed brackets") from error
        words = ", ".join(word for word in (error.context, error.problem) if word)
        hint = _hint(text, place, error)
        raise MatrixError(one_line(f"this is not YAML: {words}"), where=place, hint=hint) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        where = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise MatrixError(f"this is not YAML: {error.reason}", where=where, hint="remove that character") from error


def _hint(text: str, place: Position, bad: yaml.MarkedYAMLError) -> str:
    """What to do about text that is not YAML; an open bracket may be far above the place where that shows."""
    line = "".join(text.split("\n")[place.line - 1 : place.line])
    if line[place.column - 1 : place.column] == "\t":
        return "that is a tab: indent with spaces"
    begun = bad.context_mark.line + 1 if bad.context and bad.context_mark else place.line
    there = "there" if begun == place.line else f"there and in line {begun}, where it begins"
    return f"look at the indentation, brackets and quotes {there}"
