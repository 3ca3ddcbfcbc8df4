"""Why an action is stale: which of its inputs differ from those its outputs were made with, back to the first causes.

`commands.explain` shows it. It asks the engine for its statuss and compares the very documents whose digests are the
keys (`keys.differences`), so it cannot disagree with what a run does. Nothing is built or written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipeline import roles
from pipeline.action import AnyAction
from pipeline.errors import SlipwayError
from pipeline.store.action_result import LINK, ActionResult, Output, digests_of, upstream_in

from . import keys
from .engine import Engine
from .sources import behind
from .status import Status

State = Literal["fresh", "stale", "blocked", "rebuilt"]


@dataclass(frozen=True, slots=True)
class Change:
    """One field of the key, or one file, that differs.

    Attributes:
        field: its dotted name in the key document, or the file's relative path.
        old: what it was; None where it was not there.
        new: what it is; None where it is no more.
        inside: of a directory: the files that differ, as far as the outputs are copies of them.
        newer: of a directory or a recipe of several files, where that does not tell: files written to since.
    """

    field: str
    old: object
    new: object
    inside: tuple[Change, ...] = ()
    newer: tuple[str, ...] = ()

    def what(self) -> tuple[str, str]:
        """The same for two fields of different actions that changed in the same way."""
        return self.field.rpartition(".")[2], keys.digest({"old": self.old, "new": self.new})


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say about one action.

    Attributes:
        state: `rebuilt` is said of an action upstream that is fresh, but gives other files than it gave before.
        reason: the engine's own words; of what stands in the way for a `blocked` one.
        key: today's key; None if it cannot be known yet.
        record: what its outputs in the tree were made by; where there are none, the newest in the store of that name.
        here: whether the tree holds outputs of it.
        changes: fields of its own that differ between the record and today.
        files: digests of what it gives that differ from what was read (of a `rebuilt` one).
        damaged: (output, what is wrong with it).
        because: actions upstream that are stale or gave other files, each of them explained.
        news: the changes that are not just those of an action upstream over again: a deployment target is in the
            parameters of the compile, of the archive and of the kit.
        told: what its changes and those of all its causes come down to.
        roots: names of the first causes: what is stale, or was rebuilt, for reasons of its own.
    """

    name: str
    state: State
    reason: str = ""
    key: str | None = None
    record: ActionResult | None = None
    here: bool = False
    changes: tuple[Change, ...] = ()
    files: tuple[Change, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()
    because: tuple[Explanation, ...] = ()
    news: tuple[Change, ...] = ()
    told: frozenset[tuple[str, str]] = frozenset()
    roots: frozenset[str] = frozenset()

    def complete(self) -> Explanation:
        """The same with `news`, `told` and `roots`, which follow from the rest. No recursion: causes are shared."""
        before = frozenset[tuple[str, str]]().union(*(cause.told for cause in self.because))
        news = tuple(change for change in self.changes if change.what() not in before)
        roots = frozenset[str]().union(*(cause.roots for cause in self.because))
        if self.state != "fresh" and (news or self.damaged or not self.because):
            roots |= {self.name}
        return replace(self, news=news, told=before | {change.what() for change in self.changes}, roots=roots)


class Explainer:
    """Explains the actions of one engine; what it found out about one serves the others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, Explanation] = {}
        self._traced: dict[str, Explanation] = {}
        self._by_name: dict[str, list[ActionResult]] | None = None

    def explain(self, name: str) -> Explanation:
        """Explain one action."""
        if name not in self._known:
            self._known[name] = self._explain(self._engine.actions[name]).complete()
        return self._known[name]

    def _explain(self, action: AnyAction) -> Explanation:
        engine = self._engine
        entry = engine.workspace.get(action.name)
        record = engine.record(entry.key) if entry is not None else self._newest(action.name)
        base = Explanation(action.name, "fresh", record=record, here=entry is not None)
        stale = [other for name in action.waits_for if (other := self.explain(name)).state != "fresh"]
        blocked = tuple(other for other in stale if other.state == "blocked")
        if blocked:
            return replace(base, state="blocked", reason=f"{blocked[0].name} is blocked", because=blocked)
        status = engine.status(action.name)
        if status.fresh:
            return replace(base, key=entry.key if entry is not None else status.key)
        try:
            fields = (
                self._fields_so_far(action, record, stale)
                if stale
                else status.fields or engine.inputs.key_fields(action)
            )
        except SlipwayError as error:
            return replace(base, state="blocked", reason=str(error))
        changes, causes = self._compared(action, record, fields)
        return replace(
            base,
            state="stale",
            reason=status.reason,
            key=status.key,
            changes=tuple(self._opened(change, action, record) for change in changes),
            damaged=self._damaged(action, status),
            because=(*stale, *causes),
        )

    def _fields_so_far(
        self, action: AnyAction, record: ActionResult | None, stale: Iterable[Explanation]
    ) -> Mapping[str, object] | None:
        """Today's document as far as it is known: what stale actions gave before is taken for what they will give."""
        if record is None:
            return None
        unknown = {other.name for other in stale}
        before = upstream_in(record.fields)
        upstream = {
            role: dict(before.get(role, {})) if edge.action in unknown else self._read(action, role)
            for role, edge in action.upstream.items()
        }
        return self._engine.inputs.document(action, upstream)

    def _read(self, action: AnyAction, role: str) -> dict[str, str]:
        edge = action.upstream[role]
        entry = self._engine.workspace.get(edge.action)
        return keys.read_by(edge, digests_of(entry.outputs)) if entry is not None else {}

    def _compared(
        self, action: AnyAction, record: ActionResult | None, fields: Mapping[str, object] | None
    ) -> tuple[tuple[Change, ...], tuple[Explanation, ...]]:
        """The action's own changes, and the actions upstream that gave it other files than they did."""
        if record is None or fields is None:
            return (), ()
        own = tuple(
            Change(field, old, new)
            for field, old, new in keys.differences(_without_upstream(record.fields), _without_upstream(fields))
        )
        before, now = upstream_in(record.fields), upstream_in(fields)
        causes: list[Explanation] = []
        for role in sorted({*before, *now}):
            old, new = before.get(role), now.get(role)
            if role in action.upstream and old is not None and new is not None:
                if old != new:
                    causes.append(self._rebuilt(action, role, old, new))
            elif old != new:
                own += (Change(f"upstream.{role}", old and sorted(old), new and sorted(new)),)
        return own, tuple(causes)

    def _opened(self, change: Change, action: AnyAction, record: ActionResult | None) -> Change:
        """Say which of the files behind one digest of a directory, or of a recipe with its imports, have changed."""
        kind, _, role = change.field.partition(".")
        if record is None or kind != "files" or role not in action.files:
            return change
        path = self._engine.root / action.files[role]
        if path.is_dir():
            now = {row.path: row.sha256 for row in self._engine.stat_cache.manifest(path)}
            before = digests_of(record.outputs)
            if now.keys() & before.keys():
                return replace(change, inside=tuple(_file_changes(before, now)))
            files = [path / name for name in now]
        else:
            files = list(behind(path).files) if roles.is_source(role) else []
        folder = path.resolve().parent
        newer = [os.path.relpath(file, folder) for file in files if file.stat().st_mtime > record.started]
        return replace(change, newer=tuple(newer)) if len(files) > 1 else change

    def _rebuilt(self, action: AnyAction, role: str, old: Mapping[str, str], new: Mapping[str, str]) -> Explanation:
        """Why an action upstream, fresh by now, gives other files than those that were read before."""
        edge = action.upstream[role]
        known = keys.digest({"action": edge.action, "old": old, "new": new})
        if known in self._traced:
            return self._traced[known]
        other = self._engine.actions[edge.action]
        files = tuple(_file_changes(old, new))
        current = self.explain(edge.action).record
        earlier = next(
            (r for r in reversed(self._records(edge.action)) if keys.read_by(edge, digests_of(r.outputs)) == dict(old)),
            None,
        )
        changes: tuple[Change, ...] = ()
        because: tuple[Explanation, ...] = ()
        if current is not None and earlier is not None:
            changes, because = self._compared(other, earlier, current.fields)
        found = Explanation(
            edge.action, "rebuilt", record=current, here=True, files=files, changes=changes, because=because
        ).complete()
        self._traced[known] = found
        return found

    def _damaged(self, action: AnyAction, status: Status) -> tuple[tuple[str, str], ...]:
        entry = self._engine.workspace.get(action.name)
        if entry is None:
            return ()
        return tuple(
            (f"{entry.out}/{path}", _what_is_wrong(f"{self._engine.root}/{entry.out}/{path}", entry.outputs[path]))
            for path in status.damaged
        )

    def _newest(self, name: str) -> ActionResult | None:
        records = self._records(name)
        return records[-1] if records else None

    def _records(self, name: str) -> list[ActionResult]:
        """All records of an action, oldest first."""
        if self._by_name is None:
            self._by_name = {}
            for record in self._engine.store.records.all():
                if record.name in self._engine.actions:
                    self._by_name.setdefault(record.name, []).append(record)
        return self._by_name.get(name, [])


def _without_upstream(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name != "upstream"}


def _file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            yield Change(path, old.get(path), new.get(path))


def _what_is_wrong(path: str, output: Output) -> str:
    """Say of an output that is not what it should be, in which way."""
    try:
        now = os.lstat(path)
    except OSError:
        return "is gone"
    if now.st_size != output.size and output.mode != LINK:
        return f"has {now.st_size} bytes instead of {output.size}"
    return "has been changed"
