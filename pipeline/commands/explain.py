"""`doit explain TASK`: why a task would run, back to the first causes; of a fresh one, how its outputs came to be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.doit_plugin.session import Session
from pipeline.engine.dry_run import Forecast, forecast, named
from pipeline.engine.explain import Change, Explainer, Explanation
from pipeline.errors import SlipwayError
from pipeline.reports.events import size
from pipeline.store.action_result import ActionResult

from .base import JsonOptions, ProjectCommand
from .wording import count, duration, shown

MANY = 12
"""Changed fields and files of one task above which the rest is only counted."""

_STAY = "in the remote store, until something reads them"

FATES = {
    "restore": "the store here has its result: it would be restored, not run",
    "fetch": "the remote store has its result: it would be fetched, not run",
    "build": "the store does not have its result: it would run",
    "unknown": "whether it runs depends on what comes out of those: equal bytes stop there",
}


class Explain(ProjectCommand[JsonOptions]):
    """show why tasks would run: which inputs differ, back to the first causes (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "explain"
    doc_usage = "TASK ..."
    doc_description = (
        "A stale task is compared, field by field, with what its outputs were made from; a task upstream that is "
        "stale or gives other files than before is explained in turn. Of a fresh task it says when, where and with "
        "what it was built. TASK may be a step (`compile`). Exit status: 0, or 3 when there is no such task or the "
        "matrix is wrong."
    )

    def answer(self, session: Session, options: JsonOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        engine = session.engine
        if not args:
            raise SlipwayError("explain which task?", hint="name one or several; doit list --all names them")
        names = named(engine, args)
        explainer = Explainer(engine)
        fates = {item.name: item for item in forecast(engine, names)}
        found = [(explainer.explain(name), fates[name]) for name in names]
        logs = {name: engine.executor.log_of(engine.actions[name]) for name in names}
        entries = {name: engine.workspace.get(name) for name in names}
        stayed = {name for name, entry in entries.items() if entry is not None and entry.remote}
        lines = (line for one, fate in found for line in _lines(one, fate, logs[one.name], stays=one.name in stayed))
        documents = [{**_node(one, set()), "fate": fate.state, "roots": sorted(one.roots)} for one, fate in found]
        self.show(documents, lines, as_json=options.json)
        return 0


def _lines(explanation: Explanation, fate: Forecast, log: Path, *, stays: bool) -> Iterator[str]:
    if fate.state == "blocked" and explanation.state != "blocked":
        yield f"{explanation.name} would not be looked at: {fate.reason}"
    if explanation.state == "fresh":
        yield f"{explanation.name} is fresh"
        if explanation.record is not None:
            yield from _history(explanation.record, _STAY if stays else "all as recorded")
            if log.is_file():  # what another machine's tools printed is in the store alone
                yield f"  log      {log}"
        elif stays:
            yield f"  outputs  {_STAY}"
        return
    if explanation.state == "blocked":
        yield f"{explanation.name} cannot run"
        if not explanation.because:
            yield from (f"  {line.strip()}" for line in explanation.reason.splitlines())
        yield from _causes(explanation, "  ", {explanation.name})
        return
    yield f"{explanation.name} is {explanation.state}{'' if explanation.here else ': never built here'}"
    yield from _own(explanation, "  ")
    yield from _causes(explanation, "  ", {explanation.name})
    if fate.state in FATES:
        yield f"  {FATES[fate.state]}"
    roots = sorted(explanation.roots - {explanation.name})
    if roots:
        yield f"  first {'cause' if len(roots) == 1 else 'causes'}: {', '.join(roots)}"


def _own(explanation: Explanation, margin: str) -> Iterator[str]:
    """What an action is stale for by itself."""
    changes = explanation.news
    if changes and not explanation.here:
        yield f"{margin}the newest result in the store was made from other inputs:"
    for change in changes[:MANY]:
        yield from _change(change, margin)
    if len(changes) > MANY:
        yield f"{margin}and {count(len(changes) - MANY, 'field')} more (--json has all)"
    for path, what in explanation.damaged:
        yield f"{margin}output {path} {what}"
    said = explanation.changes or explanation.damaged or explanation.because or not explanation.here
    if explanation.state == "stale" and not said:
        yield f"{margin}{explanation.reason}"


def _change(change: Change, margin: str) -> Iterator[str]:
    if change.field == "code":
        yield f"{margin}Slipway's own code of this step changed ({shown(change.old)} → {shown(change.new)})"
        return
    yield f"{margin}{change.field} changed: {shown(change.old)} → {shown(change.new)}"
    yield from _files(change.inside, margin)
    if change.newer:
        yield f"{margin}  written to since: {', '.join(change.newer[:MANY])}"


def _causes(explanation: Explanation, margin: str, seen: set[str]) -> Iterator[str]:
    """The actions upstream that are the reason, each explained where it is first named."""
    for cause in explanation.because:
        again = cause.name in seen
        seen.add(cause.name)
        if cause.state == "rebuilt":
            yield f"{margin}because {cause.name} gives other files than it gave before{' (see above)' if again else ''}"
            yield from () if again else _files(cause.files, margin)
        else:
            never = "" if cause.here or cause.state == "blocked" else ", never built here"
            yield f"{margin}because {cause.name} is {cause.state}{never}{' (see above)' if again else ''}"
        if again:
            continue
        if cause.state == "blocked" and not cause.because:
            yield from (f"{margin}  {line.strip()}" for line in cause.reason.splitlines())
        yield from _own(cause, f"{margin}  ")
        yield from _causes(cause, f"{margin}  ", seen)


def _files(changes: Sequence[Change], margin: str) -> Iterator[str]:
    yield from (f"{margin}  file {_file(one)}" for one in changes[:MANY])
    if len(changes) > MANY:
        yield f"{margin}  and {count(len(changes) - MANY, 'file')} more"


def _file(change: Change) -> str:
    if change.old is None:
        return f"{change.field} is new"
    if change.new is None:
        return f"{change.field} is gone"
    return f"{change.field}, sha256 {shown(change.old)} → {shown(change.new)}"


def _history(record: ActionResult, where: str) -> Iterator[str]:
    """When, where and with what the outputs of a fresh action were made, and where they are."""
    volume = size(sum(output.size for output in record.outputs.values()))
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started))
    cost = [duration(record.seconds)]
    if record.cpu_seconds:
        cost.append(f"{duration(record.cpu_seconds)} of CPU in workers")
    if record.peak_bytes:
        cost.append(f"{size(record.peak_bytes)} of memory at the peak")
    yield f"  key      {record.key}"
    yield f"  built    {began}" + (f" on {record.host}" if record.host else "")
    yield f"  took     {', '.join(cost)}"
    if record.versions:
        yield f"  with     {', '.join(f'{name} {version}' for name, version in sorted(record.versions.items()))}"
    if "singly" in record.facts:
        yield f"  singly   shares no lowering with other backends: {record.facts['singly']}"
    yield f"  outputs  {count(len(record.outputs), 'file')}, {volume}, {where}"


def _node(explanation: Explanation, seen: set[str]) -> dict[str, object]:
    """An explanation for programs; where it comes again, only its name and state.

    Records are cut down to what describes the run.
    """
    if explanation.name in seen:
        return {"name": explanation.name, "state": explanation.state}
    seen.add(explanation.name)
    record = explanation.record
    built = record and {
        "key": record.key,
        "host": record.host,
        "started": record.started,
        "seconds": record.seconds,
        "cpu_seconds": record.cpu_seconds,
        "peak_bytes": record.peak_bytes,
        "versions": dict(record.versions),
        "singly": record.facts.get("singly"),
    }
    return {
        "name": explanation.name,
        "state": explanation.state,
        "reason": explanation.reason,
        "key": explanation.key,
        "here": explanation.here,
        "built": built,
        "changes": [asdict(change) for change in explanation.changes],
        "files": [asdict(change) for change in explanation.files],
        "damaged": [{"path": path, "what": what} for path, what in explanation.damaged],
        "because": [_node(cause, seen) for cause in explanation.because],
    }
