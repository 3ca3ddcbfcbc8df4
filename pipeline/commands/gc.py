"""`doit gc`: make the store smaller, without touching what the matrix of today needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.doit_plugin.session import Session
from pipeline.engine.dry_run import forecast
from pipeline.reports.events import size
from pipeline.store.gc import collect
from pipeline.store.workspace import workspaces

from .base import ProjectCommand, flag, json_flag, value
from .wording import count, read_age, read_size


@dataclass(frozen=True)
class GcOptions:
    """See `doit help gc`."""

    max_size: str = value("how large the store may be: 500M, 10G")
    max_age: str = value("how long a result may lie unused: 12h, 30d")
    dry_run: bool = flag("only tell what would go", short="n")
    json: bool = json_flag()


class Gc(ProjectCommand[GcOptions]):
    """make the store smaller, keeping what the matrix needs (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "gc"
    doc_description = (
        "Results go that were not used for --max-age, and then the least recently used ones until --max-size is "
        "met. What the tree holds, and what the matrix of today would take from the store, stays whatever the "
        "limits. Without a limit only litter goes: files that no result names. A store that several trees share "
        "knows only about this one: run it in the tree whose results matter, or by age. Exit status: 0; 3 when "
        "another doit uses the store."
    )

    def answer(self, session: Session, options: GcOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        max_bytes = read_size(options.max_size) if options.max_size else None
        max_age = read_age(options.max_age) if options.max_age else None
        engine, dry_run = session.engine, options.dry_run
        if not dry_run:
            # First of all: whoever built until now is done, so what is found to be needed is all that is.
            engine.store.exclusive()
            engine.workspace.refresh()
        try:
            done = collect(engine.store, needed_keys(session), max_bytes=max_bytes, max_age=max_age, dry_run=dry_run)
        finally:
            engine.store.close()
        removed = "would remove" if dry_run else "removed"
        lines = [f"{removed} {count(done.records, 'result')} and {count(done.blobs, 'blob')}, {size(done.bytes)}"]
        lines.append(f"kept {count(done.kept_records, 'result')} with {size(done.kept_bytes)} of blobs")
        if max_bytes is not None and done.kept_bytes > max_bytes:
            lines.append(f"that is more than {options.max_size}: all of it is needed by the matrix of today")
        self.show({**asdict(done), "dry_run": dry_run}, lines, as_json=options.json)
        return 0


def needed_keys(session: Session) -> set[str]:
    """The keys of what the tree holds, for this matrix file or another, and of what a run would take from the store."""
    engine = session.engine
    others = workspaces(session.root / "build", session.note)
    held = (e.key for w in (engine.workspace, *others) for name in w.names() if (e := w.get(name)) is not None)
    foreseen = (item.key for item in forecast(engine))
    return {key for key in (*held, *foreseen) if key is not None}
