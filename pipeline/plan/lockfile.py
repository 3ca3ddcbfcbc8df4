"""`slipway.lock`: what weights, toolchains and names turned out to be, written by the machine, reviewed in a diff.

Planning reads it (`read_lock`, `Lock.entry_for`), a run adds to it (`write_lock_entry`). It stands beside
`targets.yaml`: JSON with one file a line, sorted. Reading is strict, because a lock that was half understood would pin
half. Every command reads it, so it imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pipeline.documents import untrusted
from pipeline.documents.codec import decode, encode
from pipeline.errors import MatrixError, Position
from pipeline.files import is_sha256, write_atomic
from pipeline.files.locks import alone, user_cache
from pipeline.files.names import unsafe_path
from pipeline.matrix.source import WeightsSource
from pipeline.store.os_errors import told
from pipeline.weights.entry import Entry, identity

VERSION = 1
"""Version of the file's format."""

LARGEST_BYTES = 16 << 20
_LONGEST = 80
"""Characters of a key or value that are quoted."""

_MODEL_LIB = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT = "restore it from version control, or delete the bad entry and run doit: it is locked again"


Pins = Mapping[str, Entry | None]
"""Name of a model, or of another thing that is fetched -> its pin, or None: never locked, or its source was edited."""


@dataclass(frozen=True, slots=True)
class ToolchainPin:
    """What a toolchain was made of, by platform, for one spec (see `toolchains.spec`)."""

    spec: Mapping[str, object]
    frozen: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class NamePin:
    """The names of a model variant by device, and what they follow from: see `library_names`.

    Attributes:
        config: SHA-256 of the config of its weights.
        options: those that names depend on.
        names: device -> model_lib.
    """

    config: str
    options: Mapping[str, object]
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file says: about models, toolchains and model variants, by their names."""

    weights: Mapping[str, Entry] = field(default_factory=dict)
    toolchains: Mapping[str, ToolchainPin] = field(default_factory=dict)
    model_libs: Mapping[str, NamePin] = field(default_factory=dict)

    def entry_for(self, model: str, source: WeightsSource) -> Entry | None:
        """The entry that pins this source of this model, or None: never locked, or the source was edited since."""
        entry = self.weights.get(model)
        return entry if entry is not None and entry.source == identity(source) else None

    def frozen(self, toolchain: str, spec: Mapping[str, object], platform: str) -> tuple[str, ...] | None:
        """What a toolchain was made of on that platform, or None: never made there, or its spec was edited since."""
        entry = self.toolchains.get(toolchain)
        return entry.frozen.get(platform) if entry is not None and entry.spec == spec else None

    def carried(self, sources: Mapping[str, WeightsSource], specs: Mapping[str, Mapping[str, object]]) -> Lock:
        """The same, with what was renamed under its new name, too: under that it is to stay what it is.

        The old name keeps its entry, since another matrix file beside may have it.

        Args:
            sources: name -> source, of all that a matrix fetches.
            specs: name -> spec, of all its toolchains.
        """
        wanted = {name: identity(source) for name, source in sources.items()}
        weights = _renamed(self.weights, wanted, lambda entry: entry.source)
        toolchains = _renamed(self.toolchains, specs, lambda pin: pin.spec)
        return replace(self, weights={**self.weights, **weights}, toolchains={**self.toolchains, **toolchains})


_P = TypeVar("_P")


def _renamed(
    pins: Mapping[str, _P], wanted: Mapping[str, Mapping[str, object]], made_for: Callable[[_P], Mapping[str, object]]
) -> dict[str, _P]:
    """New name -> pin, of what has none, where a name that is no longer wanted was pinned for the same."""
    left = [pin for name, pin in sorted(pins.items()) if name not in wanted]
    new = ((name, [pin for pin in left if made_for(pin) == what]) for name, what in wanted.items() if name not in pins)
    return {name: found[0] for name, found in new if found}


def read_lock(path: Path) -> Lock:
    """Read a lock file; one that does not exist is empty.

    Raises:
        MatrixError: it is malformed, truncated, or of a newer version. The position is that of the fault.
    """
    if not os.path.lexists(path):  # a link to nowhere is no missing lock: what it pinned would be forgotten
        return Lock()
    data = untrusted.read(path, LARGEST_BYTES, MatrixError)
    text = data.removeprefix(untrusted.MARK).decode(errors="replace")
    try:
        document = untrusted.parse(data, str(path), MatrixError)
    except MatrixError as error:
        raise MatrixError(
            error.what.replace("is not JSON: ", "is not valid JSON (cut off?): "),
            where=error.where if isinstance(error.where, Position) else Position(str(path), 1, 1),
            hint=error.hint if error.what == untrusted.CONFLICT else _HINT,
        ) from error
    return _Checker(path, text).lock(document)


def write_lock_entry(path: Path, model: str, entry: Entry) -> None:
    """Add or replace one model's entry: atomic, and safe against another process that writes at the same time.

    Raises:
        MatrixError: the file that is there is malformed (it is left as it is).
        StoreError: it cannot be written.
    """
    _rewrite(path, lambda lock: replace(lock, weights={**lock.weights, model: entry}))


def write_frozen(path: Path, toolchain: str, spec: Mapping[str, object], platform: str, frozen: Sequence[str]) -> None:
    """Pin what a toolchain was made of; what it was made of on other platforms stays, unless its spec was edited.

    Raises:
        MatrixError, StoreError: as `write_lock_entry`.
    """

    def change(lock: Lock) -> Lock:
        old = lock.toolchains.get(toolchain)
        others = old.frozen if old is not None and old.spec == spec else {}
        entry = ToolchainPin(spec, {**others, platform: tuple(frozen)})
        return replace(lock, toolchains={**lock.toolchains, toolchain: entry})

    _rewrite(path, change)


def write_model_lib(path: Path, variant: str, entry: NamePin) -> None:
    """Pin the names by which apps find a model variant; see `Lock.model_libs`.

    Raises:
        MatrixError, StoreError: as `write_lock_entry`.
    """
    _rewrite(path, lambda lock: replace(lock, model_libs={**lock.model_libs, variant: entry}))


def write_carried(
    path: Path, sources: Mapping[str, WeightsSource], specs: Mapping[str, Mapping[str, object]]
) -> dict[str, str]:
    """Pin what was renamed under its new name; see `Lock.carried`. Return new name -> old name.

    Raises:
        MatrixError, StoreError: as `write_lock_entry`.
    """
    before = read_lock(path)
    after = before.carried(sources, specs)
    if after == before:
        return {}
    _rewrite(path, lambda lock: lock.carried(sources, specs))
    pairs = ((before.weights, after.weights), (before.toolchains, after.toolchains))
    return {
        name: next(old for old, pin in earlier.items() if pin == now[name])
        for earlier, now in pairs
        for name in now.keys() - earlier.keys()
    }


def _rewrite(path: Path, change: Callable[[Lock], Lock]) -> None:
    with told("write the lock file", path), alone(user_cache(), f"lock {path.resolve()}"):
        before = read_lock(path)
        after = change(before)
        if not path.is_file() or after != before:
            write_atomic(path, render(after), None, durable=True)


def render(lock: Lock) -> str:
    """The text of a lock file: sorted, one thing a line, so that a diff shows what changed and no more."""
    models = [_model(name, entry) for name, entry in sorted(lock.weights.items())]
    sections = ['  "weights": {', *_joined("    ", models), "  }"]
    for title, section in (("toolchains", lock.toolchains), ("model_libs", lock.model_libs)):
        if section:
            sections[-1] += ","
            text = json.dumps({title: encode(section)}, indent=2, sort_keys=True, ensure_ascii=False)
            sections += text.split("\n")[1:-1]  # not at U+2028, which may be in a text
    return "\n".join(["{", f'  "version": {VERSION},', *sections, "}", ""])


def _model(name: str, entry: Entry) -> list[str]:
    files = sorted(entry.files.items())
    listed = [[f"{json.dumps(path, ensure_ascii=False)}: {json.dumps(encode(file))}"] for path, file in files]
    return [
        f"{json.dumps(name)}: {{",
        f'  "source": {json.dumps(entry.source, sort_keys=True, ensure_ascii=False)},',
        f'  "resolved": {json.dumps(entry.resolved)},',
        '  "files": {',
        *_joined("    ", listed),
        "  }",
        "}",
    ]


def _joined(indent: str, items: Sequence[list[str]]) -> list[str]:
    """The lines of JSON values, with commas between."""
    lines: list[str] = []
    for i, item in enumerate(items):
        comma = "," if i + 1 < len(items) else ""
        lines += [indent + line for line in [*item[:-1], item[-1] + comma]]
    return lines


class _Checker:
    """Walks a parsed lock and refuses what does not belong there, pointing at its line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def lock(self, document: object) -> Lock:
        version = self._mapping((), document).get("version", VERSION)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise self._wrong(("version",), f"the version is {str(version)[:_LONGEST]!r}, not a number")
        if version > VERSION:  # before anything else is found wrong with it: the next format may have other keys
            raise self._wrong(
                ("version",),
                f"is of version {version}, and this Slipway knows {VERSION}",
                hint="take the newer Slipway that wrote it",
            )
        whole = self._mapping((), document, {"version", "weights"}, optional={"toolchains", "model_libs"})
        checks = {"weights": self._entry, "toolchains": self._toolchain, "model_libs": self._model_lib}
        for section, check in checks.items():
            for name, entry in self._mapping((section,), whole.get(section, {})).items():
                check((section, name), entry)
        return decode(Lock, whole, str(self._path))

    def _toolchain(self, at: tuple[str, ...], entry: object) -> None:
        spec, frozen = self._fields(at, entry, "spec", "frozen")
        self._mapping((*at, "spec"), spec)
        for platform, listed in self._mapping((*at, "frozen"), frozen).items():
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                raise self._wrong((*at, "frozen", platform), f"{platform!r} is not a list of requirements")

    def _model_lib(self, at: tuple[str, ...], entry: object) -> None:
        config, options, names = self._fields(at, entry, "config", "options", "names")
        if not isinstance(config, str):
            raise self._wrong((*at, "config"), "`config` is not a string")
        self._mapping((*at, "options"), options)
        for device, name in self._mapping((*at, "names"), names).items():
            if not isinstance(name, str) or not _MODEL_LIB.fullmatch(name):
                raise self._wrong((*at, "names", device), f"{name!r} is not a model_lib")

    def _entry(self, at: tuple[str, ...], entry: object) -> None:
        source, resolved, files = self._fields(at, entry, "source", "resolved", "files")
        self._mapping((*at, "source"), source)
        if not isinstance(resolved, str):
            raise self._wrong((*at, "resolved"), "`resolved` is not a string")
        if not self._mapping((*at, "files"), files):
            raise self._wrong((*at, "files"), "`files` is empty")
        for name, file in self._mapping((*at, "files"), files).items():
            here = (*at, "files", name)
            size, sha256 = self._fields(here, file, "size", "sha256")
            problem = unsafe_path(name)
            if problem:
                raise self._wrong(here, f"the path {name!r} {problem}")
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise self._wrong((*here, "size"), f"the size of {name!r} is not a number of bytes")
            if not isinstance(sha256, str) or not is_sha256(sha256):
                raise self._wrong((*here, "sha256"), f"the sha256 of {name!r} is not 64 lower-case hex digits")

    def _fields(self, at: tuple[str, ...], value: object, *keys: str) -> list[object]:
        """The values of a mapping that has just these keys, in their order."""
        found = self._mapping(at, value, set(keys))
        return [found[key] for key in keys]

    def _mapping(
        self, at: tuple[str, ...], value: object, keys: set[str] | None = None, *, optional: Collection[str] = ()
    ) -> dict[str, object]:
        name = repr(at[-1][:_LONGEST]) if at else "the file"
        if not isinstance(value, dict):
            raise self._wrong(at, f"{name} is not a mapping")
        if keys is not None and set(value).difference(optional) != keys:
            strange = sorted(set(value) - keys - set(optional))
            missing = sorted(keys - set(value))
            raise self._wrong(
                (*at, strange[0]) if strange else at,
                f"{name} has an unknown key {strange[0][:_LONGEST]!r}" if strange else f"{name} lacks {missing[0]!r}",
            )
        return value

    def _wrong(self, at: Sequence[str], what: str, hint: str = _HINT) -> MatrixError:
        line, column = _find(self._text, at)
        return MatrixError(what, where=Position(str(self._path), line, column), hint=hint)


def _find(text: str, at: Sequence[str]) -> tuple[int, int]:
    """Line and column of a key: each one of the way is looked for behind the one before."""
    place = 0
    for name in at:
        spellings = {json.dumps(name, ensure_ascii=plain) for plain in (True, False)}
        places = [key.start() for one in spellings if (key := re.compile(rf"{re.escape(one)}\s*:").search(text, place))]
        if not places:
            break
        place = min(places)
    return text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
