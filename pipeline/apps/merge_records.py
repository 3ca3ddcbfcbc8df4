"""Puts records of models into a file of an app's own, by `model_id`, and leaves everything else in it as it is.

`pipeline.commands.merge_app_config` calls `merge`. The files are `mlc-app-config.json` of MLC's apps and lists in the
form of WebLLM's `model_list`. Works on text: no file is read or written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.action import Json
from pipeline.errors import SlipwayError

from .json_text import Edit, Member, Span, applied, elements, indent_of, members, newline, parse, step_of

LIST = "model_list"
KEY = "model_id"

_PLACES = ("model_path", "model_url")
"""Fields that say where weights are. What an app says of that is its own decision, and stays."""


@dataclass(frozen=True)
class Change:
    """What was done to one record: `added`, or fields of it, each with its old value and its new one."""

    model_id: str
    added: bool
    fields: Mapping[str, tuple[Json, Json]]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """The text as it should be, and what is different in it; `unchanged` are the ids of records that were right."""

    text: str
    changes: tuple[Change, ...]
    unchanged: tuple[str, ...]


def merge(text: str, records: Sequence[Mapping[str, Json]], where: str) -> Merged:
    """Merge records into a text.

    A record that is there gets our values for our fields; fields of its own stay, and so does its word on where its
    weights are. One that is not there is put at the end of the list, formatted like the others.

    Args:
        text: the app's file, without a byte order mark.
        records: ours.
        where: how errors name the file.

    Raises:
        SlipwayError: the text is no JSON with such a list, or has a model twice.
    """
    listed = _list(text, parse(text, where), where)
    there = _by_id(text, listed, where)
    edits: list[Edit] = []
    changes: list[Change] = []
    new: list[Mapping[str, Json]] = []
    unchanged: list[str] = []
    for record in records:
        name = str(record[KEY])
        if name not in there:
            new.append(record)
            changes.append(Change(name, added=True, fields={}))
            continue
        change, needed = _updated(text, there[name], record)
        edits += needed
        if change.fields:
            changes.append(change)
        else:
            unchanged.append(name)
    if new:
        edits.append(_appended(text, listed, new))
    return Merged(applied(text, edits), tuple(changes), tuple(unchanged))


def _list(text: str, whole: Span, where: str) -> Span:
    found = [m.value for m in members(text, whole) if m.key == LIST] if isinstance(whole.value, dict) else []
    if len(found) != 1 or not isinstance(found[0].value, list):
        raise SlipwayError(
            f"has no `{LIST}`",
            where=where,
            hint=f'name the app\'s own list of models; an empty one is {{"{LIST}": []}}',
        )
    return found[0]


def _by_id(text: str, listed: Span, where: str) -> dict[str, Span]:
    there: dict[str, Span] = {}
    for number, one in enumerate(elements(text, listed), 1):
        name = one.value.get(KEY) if isinstance(one.value, dict) else None
        if not isinstance(name, str):
            raise SlipwayError(f"record {number} of {LIST} has no {KEY}", where=where, hint="give it one")
        if name in there:
            raise SlipwayError(f"{LIST} has {name} twice", where=where, hint="remove one of its records")
        there[name] = one
    return there


def _updated(text: str, there: Span, record: Mapping[str, Json]) -> tuple[Change, list[Edit]]:
    """What must be edited in a record that is there."""
    own = {member.key: member for member in members(text, there)}
    place = next((key for key in _PLACES if key in own), None)
    edits: list[Edit] = []
    fields: dict[str, tuple[Json, Json]] = {}
    absent: dict[str, Json] = {}
    kept = []
    for key, value in record.items():
        if key in own and (key not in _PLACES or place == key) and _same(own[key].value.value, value):
            continue
        if key in _PLACES and place is not None:
            kept.append(place)
        elif key in own:
            fields[key] = (own[key].value.value, value)
            edits.append(_replaced(text, own[key], value))
        else:
            fields[key] = (None, value)
            absent[key] = value
    if absent:
        edits.append(_extended(text, members(text, there)[-1], absent))
    return Change(str(record[KEY]), added=False, fields=fields, kept=tuple(kept)), edits


def _same(old: Json, new: Json) -> bool:
    """Equality of JSON, in which `true` is not 1."""
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _replaced(text: str, member: Member, value: Json) -> Edit:
    span = member.value
    indent = indent_of(text, member.start) if isinstance(span.value, dict | list) and "\n" in _of(text, span) else None
    return Edit(span.start, span.end, _written(value, text, indent))


def _extended(text: str, last: Member, absent: Mapping[str, Json]) -> Edit:
    """Members put behind the last one of a record, each in a line of its own where that one is."""
    indent = indent_of(text, last.start)
    gap = ", " if indent is None else f",{newline(text)}{indent}"
    words = [f"{json.dumps(key)}: {_written(value, text, indent)}" for key, value in absent.items()]
    return Edit(last.value.end, last.value.end, "".join(f"{gap}{word}" for word in words))


def _appended(text: str, listed: Span, new: Iterable[Mapping[str, Json]]) -> Edit:
    """Records put behind the last one of the list."""
    there = elements(text, listed)
    end = newline(text)
    if there:
        indent = indent_of(text, there[-1].start)
        compact = "\n" not in _of(text, there[-1])
        gap = ", " if indent is None else f",{end}{indent}"
        margin = _line_indent(text, there[-1].end) if indent is None else indent
        words = [_written(record, text, None if compact else margin) for record in new]
        return Edit(there[-1].end, there[-1].end, "".join(f"{gap}{word}" for word in words))
    if "\n" not in text.rstrip():
        return Edit(listed.start, listed.end, json.dumps(list(new), ensure_ascii=False))
    outer = _line_indent(text, listed.start)
    inner = outer + step_of(text)
    words = [f"{end}{inner}{_written(record, text, inner)}" for record in new]
    return Edit(listed.start, listed.end, f"[{','.join(words)}{end}{outer}]")


def _written(value: Json, text: str, indent: str | None) -> str:
    """A value as text: on one line, or over several of which all but the first begin with `indent`."""
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    lines = json.dumps(value, ensure_ascii=False, indent=step_of(text)).split("\n")
    return (newline(text) + indent).join(lines)


def _of(text: str, span: Span) -> str:
    return text[span.start : span.end]


def _line_indent(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]
