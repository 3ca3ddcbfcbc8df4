"""Merging of our records of models, by `model_id`, into an app's own list; `commands.merge_app_config` calls it.

The lists are `mlc-app-config.json` of MLC's apps and `model_list` of WebLLM. No file is read or written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.documents import untrusted
from pipeline.documents.app_records import DIGESTS, IOS, KEY, LIST, WEBLLM, WINDOW, Reader
from pipeline.errors import SlipwayError

MOST_RECORDS = 10_000

Record = Mapping[str, object]
Kind = Literal["native", "web"]

_OLD = ("local_id", "model_lib_url", "model_libs", "model_lib_map")
"""Fields of lists of 2023 and 2024, which today's apps do not read."""

_PLACES = (*WEBLLM.places, *IOS.places)
"""Fields of which an app has one: where its weights are."""

_OF_THE_APP = (*_PLACES, "estimated_vram_bytes")
"""Fields that are the app's own decision where it has made one: where weights are, and how much memory to ask for."""

_OURS = ("overrides", "required_features", "vram_required_MB", "low_resource_required", "integrity")
"""Fields of WebLLM's records that follow from the build: one that the build no longer gives is removed."""

_PARTS = {"overrides": WINDOW, "integrity": DIGESTS}
"""Those of them of which only some parts follow from the build: the others are the app's."""

_WEB = frozenset(WEBLLM.optional) - {"overrides", "model_type"}
_NATIVE = frozenset({*IOS.places, *IOS.required}) - {KEY, "model_lib"}
"""Fields that only a record for WebLLM has, or only one for a native app."""

_OF_WEB_LISTS = ("useIndexedDBCache", "cacheBackend")
"""Fields of WebLLM's `AppConfig` beside its list."""


@dataclass(frozen=True)
class FieldChange:
    """A field of a record that gets another value; None stands for none."""

    name: str
    old: object
    new: object


@dataclass(frozen=True)
class Change:
    """What was done to one record: `added`, or some of its `fields`; `kept` are fields left as the app has them."""

    model_id: str
    added: bool
    fields: tuple[FieldChange, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class AppList:
    """An app's file.

    Attributes:
        indent: of a line in the document; None where it is all one line.
        separators: between items, and between a key and its value.
        tail: white space behind the document.
    """

    where: str
    document: dict[str, object]
    records: list[dict[str, object]]
    indent: str | None = None
    separators: tuple[str, str] | None = None
    newline: str = "\n"
    tail: str = ""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What kind of app its records are for; empty where they do not tell."""
        found = frozenset(kind for record in self.records if (kind := kind_of(record)) is not None)
        return found or (frozenset({"web"}) if any(key in self.document for key in _OF_WEB_LISTS) else found)

    def text(self, records: Sequence[Record]) -> str:
        """The file with other records, formatted as it was."""
        document = {**self.document, LIST: list(records)}
        text = json.dumps(document, ensure_ascii=False, indent=self.indent, separators=self.separators)
        return text.replace("\n", self.newline) + self.tail


@dataclass(frozen=True)
class Merged:
    """The text as it should be, and what is different in it; `unchanged` are the ids of records that were right."""

    text: str
    changes: tuple[Change, ...]
    unchanged: tuple[str, ...]


def kind_of(record: Record) -> Kind | None:
    """Whether a record is for MLC's native apps or for WebLLM; None where it does not tell."""
    library = record.get("model_lib")
    named = (isinstance(library, str) and library) or ""
    if "model" in record or "://" in named.removeprefix("system://") or re.search(r"\.wasm\b", named):
        return "web"
    if not _NATIVE.isdisjoint(record):
        return "native"
    if not _WEB.isdisjoint(record):
        return "web"
    return "native" if re.fullmatch(r"[A-Za-z_]\w*", named) else None


def read_list(text: str, where: str) -> AppList:
    """Read an app's file, given without a byte order mark; errors name it `where`.

    Raises:
        SlipwayError: it is not JSON with a list of models, has one twice, or has the form of 2023 and 2024.
    """
    document = untrusted.parse(text.encode(), where)
    records = document.get(LIST) if isinstance(document, dict) else None
    if not isinstance(records, list):
        hint = f'name the app\'s own list of models; an empty one is {{"{LIST}": []}}'
        raise SlipwayError(f"has no `{LIST}`", where=where, hint=hint)
    if len(records) > MOST_RECORDS:
        raise SlipwayError(f"has {len(records)} records", where=where, hint=f"an app's list has up to {MOST_RECORDS}")
    old = next((key for key in _OLD for one in (document, *records) if isinstance(one, dict) and key in one), None)
    if old is not None:
        raise SlipwayError(
            f"is a list of models in the form of 2023 and 2024: it has `{old}`, which today's apps do not read",
            where=where,
            hint="give each record `model_id` and `model_lib` (and `model` or `model_url`), as the app's present "
            f"version of MLC or WebLLM wants them, and remove `{old}`",
        )
    names: set[str] = set()
    for number, record in enumerate(records, 1):
        name = record.get(KEY) if isinstance(record, dict) else None
        if not isinstance(name, str):
            raise SlipwayError(f"record {number} of {LIST} has no {KEY}", where=where, hint="give it one")
        if name in names:
            raise SlipwayError(f"{LIST} has {name} twice", where=where, hint="remove one of its records")
        names.add(name)
    newline = "\r\n" if "\r\n" in text else "\n"
    indented = re.search(r"\n([ \t]+)\S", text)
    compact = not indented and re.search(r'":\S', text) and '": ' not in text
    return AppList(
        where,
        document,
        records,
        indent=indented[1] if indented else None,
        separators=(",", ":") if compact else None,
        newline=newline,
        tail=text[len(text.rstrip()) :],
    )


def merge(text: str, records: Sequence[Record], where: str, reader: Reader | None = None) -> Merged:
    """Merge our records into the text of an app's file, which has no byte order mark and which errors name `where`.

    A record that is there gets our values; fields of its own stay, and so does what is the app's to decide. One that is
    missing is put at the end of the list. What `reader`, whose list it is, needs and the app's record lacks is taken
    from ours, where that is known.

    Raises:
        SlipwayError: see `read_list`; or the list is for another kind of app than our records.
    """
    app = read_list(text, where)
    _check_kind(app, records)
    needed = tuple(reader.required) if reader else ()
    mine = {str(record[KEY]): record for record in records}
    changes: list[Change] = []
    unchanged: list[str] = []
    result: list[Record] = []
    for there in app.records:
        name = str(there[KEY])
        merged, change = _updated(there, mine.pop(name), needed) if name in mine else (there, None)
        result.append(merged)
        if change is not None and change.fields:
            changes.append(change)
        elif change is not None:
            unchanged.append(name)
    result += mine.values()
    changes += (Change(name, added=True) for name in mine)
    return Merged(app.text(result) if changes else text, tuple(changes), tuple(unchanged))


def _check_kind(app: AppList, records: Iterable[Record]) -> None:
    there = {record[KEY]: kind_of(record) for record in app.records}
    what = {"web": "WebLLM", "native": "native apps"}
    for record in records:
        kind = kind_of(record)
        theirs = app.kinds if there.get(record[KEY]) is None else {there[record[KEY]]}
        if kind is not None and theirs and kind not in theirs:
            (other,) = {"web", "native"} - {kind}
            raise SlipwayError(
                f"is a list for {what[other]}, and the record of {record[KEY]} is for {what[kind]}",
                where=app.where,
                hint=f"name a product for {what[other]} (--product NAME), or the list of the other app",
            )


def _updated(there: Record, ours: Record, needed: Sequence[str]) -> tuple[Record, Change]:
    """A record with our values, and what changed; `needed` are fields that its reader cannot do without."""
    result = dict(there)
    fields: list[FieldChange] = []
    kept: list[str] = []
    has_place = any(there.get(key) is not None for key in _PLACES)
    ours = {**ours, **{key: _with_theirs(key, there, ours) for key in _PARTS if _with_theirs(key, there, ours)}}
    for key, value in ours.items():
        # To Python `true` is 1.
        if key in there and json.dumps(there[key], sort_keys=True) == json.dumps(value, sort_keys=True):
            continue
        if key in _OF_THE_APP and (there.get(key) is not None or (key in _PLACES and has_place and key not in needed)):
            kept += [own for own in (_PLACES if key in _PLACES else (key,)) if own in there and own not in kept]
            continue
        fields.append(FieldChange(key, there.get(key), value))
        result[key] = value
    gone = [key for key in _OURS if key in there and key not in ours] if kind_of(ours) == "web" else []
    fields += [FieldChange(key, result.pop(key), None) for key in gone]
    return result, Change(str(ours[KEY]), False, tuple(fields), tuple(kept))


def _with_theirs(key: str, there: Record, ours: Record) -> dict[str, object]:
    """A field of which some parts are ours: those of this build, behind the app's own."""
    old, new = there.get(key), ours.get(key)
    own = {name: value for name, value in old.items() if name not in _PARTS[key]} if isinstance(old, dict) else {}
    return {**own, **(new if isinstance(new, dict) else {})} if kind_of(ours) == "web" else {}
