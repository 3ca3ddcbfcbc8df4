"""`doit profile`: where the time of the last run went, in a few figures and as a trace for Chrome or Perfetto."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.doit_plugin.session import Session
from pipeline.engine.engine import Engine
from pipeline.errors import SlipwayError
from pipeline.reports.trace import Span, Timings, critical_path, lanes, load
from pipeline.store.os_errors import told

from .base import ProjectCommand, json_flag, value
from .wording import count, duration

TRACE = "build/trace.json"

SHARE = 0.01
"""Part of the critical path below which a task on it is not listed by itself."""

LOWERING = ("lower_cpu", "codegen_cpu", "singly")
"""What a compile says of the part that it shares with other cells: what it and the rest cost, or why there is none."""


@dataclass(frozen=True)
class ProfileOptions:
    """See `doit help profile`."""

    output: str = value(f"the trace to write [default: {TRACE}]", short="o")
    json: bool = json_flag()


@dataclass(frozen=True)
class Figures:
    """A run in numbers, as `--json` prints them. `tasks`: how a task ended -> how many did."""

    wall_seconds: float
    work_seconds: float
    jobs: int
    processors: int
    efficiency: float
    critical_seconds: float
    tasks: Mapping[str, int]


class Profile(ProjectCommand[ProfileOptions]):
    """show where the time of the last run went, and write it as a Chrome trace (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "profile"
    doc_description = (
        "The last run that did anything is meant. The trace opens in chrome://tracing or ui.perfetto.dev. The "
        "critical path is the longest chain of tasks that wait for each other: more processors do not make a run "
        "shorter than that. Exit status: 0, or 3 when there is no run to tell of."
    )

    def answer(self, session: Session, options: ProfileOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        timings = load(session.root)
        if timings is None:
            raise SlipwayError("there are no timings of a run", hint="run doit; where all is fresh, forget first")
        target = Path(options.output or session.root / TRACE)
        with told("write the trace", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(chrome_trace(timings, session.engine)), encoding="utf-8")
        actions = session.engine.actions.items()
        upstream = {name: sorted(one.waits_for) for name, one in actions}
        path = critical_path(timings.spans, upstream)
        figures = _figures(timings, path)
        lines = [*_lines(timings, path, figures), f"trace: {target} (open it in ui.perfetto.dev)"]
        steps = [{"name": span.name, "how": span.how, "seconds": span.seconds} for span in path]
        document = {**asdict(figures), "critical_path": steps, "trace": str(target)}
        self.show(document, lines, as_json=options.json)
        return 0


def chrome_trace(timings: Timings, engine: Engine) -> dict[str, object]:
    """The run in Chrome's trace event format: a row per task at a time on each machine, times in microseconds."""
    events: list[dict[str, object]] = []
    hosts = ["", *sorted({span.host for span in timings.spans if span.host})]
    for process, host in enumerate(hosts, start=1):
        name = {"name": host or "doit"}
        events.append({"ph": "M", "pid": process, "tid": 0, "name": "process_name", "args": name})
        events += _rows(timings, engine, host, process)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _rows(timings: Timings, engine: Engine, host: str, process: int) -> Iterator[dict[str, object]]:
    for number, lane in enumerate(lanes(span for span in timings.spans if span.host == host), start=1):
        yield {"ph": "M", "pid": process, "tid": number, "name": "thread_name", "args": {"name": f"job {number}"}}
        for span in lane:
            yield {
                "ph": "X",
                "pid": process,
                "tid": number,
                "name": span.name,
                "cat": f"{span.name.partition(':')[0]},{span.how}",
                "ts": round((span.start - timings.start) * 1e6),
                "dur": round(span.seconds * 1e6),
                "args": {"how": span.how, **_record_of(engine, span)},
            }


def _record_of(engine: Engine, span: Span) -> dict[str, object]:
    """What the record knows of a task that this run finished."""
    entry = engine.workspace.get(span.name)
    record = engine.store.record(entry.key) if entry is not None and span.how != "failed" else None
    if record is None:
        return {}
    return {
        "key": record.key,
        "bytes": sum(output.size for output in record.outputs.values()),
        "cpu_seconds": record.cpu_seconds,
        "peak_bytes": record.peak_bytes,
        **{name: record.facts[name] for name in LOWERING if name in record.facts},
    }


def _lines(timings: Timings, path: Sequence[Span], figures: Figures) -> Iterator[str]:
    wall, length = figures.wall_seconds, figures.critical_seconds
    hows = [f"{n} {how}" for how, n in figures.tasks.items()]
    yield f"{duration(wall)} by the clock, {duration(figures.work_seconds)} of work: {', '.join(hows)}"
    yield (
        f"up to {figures.jobs} at a time on {count(figures.processors, 'processor')}: "
        f"{figures.efficiency:.0%} of that time was used"
    )
    yield f"critical path: {duration(length)}, {length / wall if wall else 1:.0%} of the run"
    small = [span for span in path if span.seconds < SHARE * length]
    for span in path:
        if span not in small:
            yield f"  {duration(span.seconds):>9}  {span.name} ({span.how})"
    if small:
        yield f"  {duration(sum(s.seconds for s in small)):>9}  in {count(len(small), 'short task')} between them"
    off = sorted((s for s in timings.spans if s not in path), key=lambda s: -s.seconds)[:5]
    if off:
        yield "longest beside it:"
        yield from (f"  {duration(span.seconds):>9}  {span.name} ({span.how})" for span in off)
    for host, number in sorted(Counter(span.host for span in timings.spans if span.host).items()):
        yield f"on {host}: {count(number, 'task')}"


def _figures(timings: Timings, path: Sequence[Span]) -> Figures:
    wall = max(0.0, timings.end - timings.start)
    work = sum(span.seconds for span in timings.spans)
    jobs = max(1, len(lanes(timings.spans)))
    return Figures(
        wall_seconds=wall,
        work_seconds=work,
        jobs=jobs,
        processors=os.cpu_count() or 1,
        efficiency=min(1.0, work / (wall * jobs)) if wall else 1.0,
        critical_seconds=sum(span.seconds for span in path),
        tasks=dict(sorted(Counter(span.how for span in timings.spans).items())),
    )
