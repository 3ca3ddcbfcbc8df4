"""`doit cache`: what is in the store, whether it is sound, and how stores of several machines become one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.doit_plugin.session import Session
from pipeline.engine.dry_run import forecast, named
from pipeline.errors import SlipwayError
from pipeline.reports.events import size
from pipeline.store.gc import Stats, stats, verify
from pipeline.store.store import Store
from pipeline.store.transfer import Transferred, open_source, transfer

from .base import JsonOptions, ProjectCommand
from .wording import count, duration, short

FAULTY = 1
"""Exit status when something in a store was found to be wrong."""


class Cache(ProjectCommand[JsonOptions]):
    """look into the store, check it, take in other stores (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "cache"
    doc_usage = "stats | verify | merge DIR ... | export DIR [TASK ...]"
    doc_description = (
        "stats: what is in it. verify: read everything and compare it with its digest; what is damaged is removed, "
        "and what needs it will be built again. merge: take in all that the store directories DIR have, each piece "
        "checked. export: copy what the store has of today's matrix, or of TASK (or a step) alone, into the store "
        "directory DIR, to carry it to another machine. Exit status: 0; 1 when verify or merge found damage; 3 when "
        "it could not be done."
    )

    def answer(self, session: Session, options: JsonOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        actions: Mapping[str, Callable[[Session, Sequence[str], bool], int]] = {
            "stats": self._stats,
            "verify": self._verify,
            "merge": self._merge,
            "export": self._export,
        }
        if not args or args[0] not in actions:
            what = f"{args[0]!r} is nothing that cache can do" if args else "cache needs to know what to do"
            raise SlipwayError(what, hint=f"doit cache {' | '.join(actions)}")
        try:
            return actions[args[0]](session, args[1:], options.json)
        finally:
            session.engine.store.close()

    def _stats(self, session: Session, args: Sequence[str], as_json: bool) -> int:
        _no_more(args)
        store = session.engine.store
        found = stats(store)
        self.show({"store": str(store.root), **asdict(found)}, _content(store.root, found), as_json=as_json)
        return 0

    def _verify(self, session: Session, args: Sequence[str], as_json: bool) -> int:
        _no_more(args)
        found = verify(session.engine.store)
        names = [record.name for key in found.incomplete if (record := session.engine.store.record(key)) is not None]
        wrong = f"{len(found.damaged)} damaged, {count(len(names), 'result')} incomplete"
        lines = [
            *(f"removed the damaged blob {short(sha256)}" for sha256 in found.damaged),
            *(f"{name}: its result is incomplete; it will be built again when it is needed" for name in names),
            f"{count(found.blobs, 'blob')} read: {wrong if found.damaged or names else 'all sound'}",
        ]
        self.show({**asdict(found), "names": names}, lines, as_json=as_json)
        return FAULTY if found.damaged or found.incomplete else 0

    def _merge(self, session: Session, args: Sequence[str], as_json: bool) -> int:
        if not args:
            raise SlipwayError("merge which stores?", hint="doit cache merge DIR ...")
        notes: list[str] = []
        sources = [open_source(path, notes) for path in args]
        done: dict[str, Transferred] = {}
        for path, source in zip(args, sources, strict=True):
            done[path] = transfer(source, session.engine.store)
            source.close()
        lines = [*notes, *(line for path, found in done.items() for line in _told(found, f"from {path}"))]
        document = {"notes": notes, "stores": {path: asdict(found) for path, found in done.items()}}
        self.show(document, lines, as_json=as_json)
        return FAULTY if notes or any(found.refused for found in done.values()) else 0

    def _export(self, session: Session, args: Sequence[str], as_json: bool) -> int:
        if not args:
            raise SlipwayError("export to which directory?", hint="doit cache export DIR [TASK ...]")
        engine = session.engine
        names = args[1:]
        wanted = set(named(engine, names) if names else engine.actions)
        foreseen = [item for item in forecast(engine, names or None) if item.name in wanted]
        there = [item.key for item in foreseen if item.key is not None and engine.store.records.has(item.key)]
        target = Store(Path(args[0]), note=session.note)
        try:
            found = transfer(engine.store, target, there)
        finally:
            target.close()
        missing = len(foreseen) - len(there)
        absent = [f"{missing} of {count(len(foreseen), 'task')} not in the store"] if missing else []
        entries = {name: engine.workspace.get(name) for name in sorted(wanted)}
        if remote := [name for name, entry in entries.items() if entry is not None and entry.remote]:
            absent.append(f"in the remote store alone: run `doit {' '.join(remote)}` to have them here")
        self.show({**asdict(found), "missing": missing}, [*_told(found, f"to {args[0]}"), *absent], as_json=as_json)
        return FAULTY if found.refused else 0


def _content(root: str, found: Stats) -> Iterator[str]:
    yield f"store    {root}"
    yield f"records  {found.records}, {size(found.record_bytes)}"
    yield f"blobs    {found.blobs}, {size(found.bytes)}"
    if found.oldest is not None:
        yield f"oldest   {time.strftime('%Y-%m-%d %H:%M', time.localtime(found.oldest))}"
    yield f"worth    {duration(found.seconds)} of work"
    yield from (f"  {step:<12} {number:>6}" for step, number in found.by_step.items())


def _told(found: Transferred, where: str) -> Iterator[str]:
    known = f", {found.known} known already" if found.known else ""
    yield f"{where}: {count(found.records, 'record')} with {size(found.bytes)} of blobs{known}"
    yield from (f"  {name} stays behind: {why}" for name, why in found.refused)


def _no_more(args: Sequence[str]) -> None:
    if args:
        raise SlipwayError(f"{args[0]!r} is one word too many", hint="doit help cache")
