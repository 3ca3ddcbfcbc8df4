"""`doit plan`: what a run would do, task by task, and why; nothing is built, locked or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain

from pipeline.cluster.fleet import Fleet, enough, fleets, works_of
from pipeline.compilers.devices import unable
from pipeline.documents.probe import Probe
from pipeline.doit_plugin.session import Session
from pipeline.engine.cleaning import gone
from pipeline.engine.dry_run import Estimate, Forecast, State, estimate, forecast

from .base import ProjectCommand, flag, json_flag, number
from .wording import count, duration

STATES: Mapping[State, tuple[str, str]] = {
    "fresh": (" ", "fresh"),
    "restore": ("↺", "to restore"),
    "fetch": ("↓", "to fetch"),
    "build": ("▸", "to build"),
    "unknown": ("?", "unknown"),
    "blocked": ("✗", "blocked"),
}
"""State -> its mark, and what it is called where tasks are counted."""

LIMITS: Mapping[str, str] = {
    "work": "the work itself",
    "chain": "the longest chain of tasks",
    "family": "the cells of one lowering, which stay together",
    "sending": "sending orders, one after the other",
    "near side": "what this machine does itself",
}


@dataclass(frozen=True)
class PlanOptions:
    """See `doit help plan`. `num_process` is called so in DOIT_CONFIG."""

    all: bool = flag("also list the tasks that are fresh", short="a")
    json: bool = json_flag()
    num_process: int = number(
        "how many tasks run at a time, for the estimate [default: as `doit` would run them]",
        default=1,
        short="n",
        long="process",
    )
    workers: int = number("also forecast the run on 1, 2, 4, … and this many machines of a cluster", default=0)


class Plan(ProjectCommand[PlanOptions]):
    """show what would run, and why (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "plan"
    doc_usage = "[TASK ...]"
    doc_description = (
        "States: build; restore (from this machine's store); fetch (from the remote store); unknown (something "
        "before it is built first, and its result decides); blocked (it cannot start); fresh. What targets.yaml no "
        "longer has leaves build/ and dist/: remove. The times are those "
        "of the last run of each task, whatever has changed since. Exit status: 0, or 3 when the matrix is wrong."
    )

    def answer(self, session: Session, options: PlanOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        engine = session.engine
        listed = list(forecast(engine, args or None))
        cost = estimate(engine, listed, options.num_process)
        found = _fleets(session, listed, options)
        removed = gone(engine)
        document = {"tasks": [asdict(item) for item in listed], "estimate": asdict(cost), "removed": removed}
        document |= {"fleets": [asdict(fleet) for fleet in found]} if found else {}
        table = _table(found) if options.workers else ()
        leaves = (
            f"- {name}  remove  no longer in {session.targets.name}, {count(files, 'file')}"
            for name, files in removed.items()
        )
        lines = chain(leaves, _lines(listed, cost, everything=options.all), table, _unable(session))
        self.show(document, lines, as_json=options.json)
        return 0


def _unable(session: Session) -> Iterator[str]:
    """What of the matrix its toolchains cannot compile, as far as their last probes still hold."""
    known = [one for one in session.engine.actions.values() if one.step == "toolchain"]
    fresh = [one for one in known if session.engine.status(one.name).fresh]
    return unable(session.project.matrix.cells, {one.subject: Probe.read(session.root / one.out) for one in fresh})


def _fleets(session: Session, listed: Sequence[Forecast], options: PlanOptions) -> list[Fleet]:
    """Forecasts for machines; none where there is nothing to do, as far as that is known."""
    works = works_of(session.engine, listed)
    if not options.workers or not any(work.seconds for work in works):
        return []
    return list(fleets(works, options.workers, options.num_process))


def _table(found: Sequence[Fleet]) -> Iterator[str]:
    if not found:
        yield "no forecast for machines: nothing is to do that was ever seen to run"
        return
    yield "machines  by the clock  machine-hours  busy  limit"
    for fleet in found:
        hours, seconds = fleet.machine_seconds / 3600, duration(fleet.elapsed)
        yield f"{fleet.machines:>8}  {seconds:>12}  {hours:>13.2f}  {fleet.busy:>4.0%}  {LIMITS[fleet.limit]}"
    best = enough(found)
    if best != found[-1]:
        yield f"more than {count(best.machines, 'machine')}: less than a tenth is gained by twice as many"


def _lines(listed: Sequence[Forecast], cost: Estimate, *, everything: bool) -> Iterator[str]:
    shown = [item for item in listed if everything or item.state != "fresh"]
    width = max((len(item.name) for item in shown), default=0)
    for item in shown:
        yield f"{STATES[item.state][0]} {item.name:<{width}}  {item.state:<7}  {item.reason}".rstrip()
    counts = Counter(item.state for item in listed)
    yield f"{count(len(listed), 'task')}: " + ", ".join(
        f"{counts[s]} {words}" for s, (_, words) in STATES.items() if counts[s]
    )
    if cost.at_most:
        yield f"{_work(cost)}; about {duration(cost.elapsed)} by the clock with {cost.jobs} at a time"
    if cost.without_history:
        yield f"not counted, because never seen to run: {count(cost.without_history, 'task')}"


def _work(cost: Estimate) -> str:
    if cost.certain == cost.at_most:
        return f"{duration(cost.certain)} of work"
    if not cost.certain:
        return f"at most {duration(cost.at_most)} of work"
    return f"{duration(cost.certain)} of work for certain, at most {duration(cost.at_most)}"
