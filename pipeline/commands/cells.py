"""`doit cells`: the compiles of the matrix in groups, one for each job of a CI system."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pipeline.doit_plugin.session import Session
from pipeline.engine.dry_run import Forecast, forecast
from pipeline.engine.engine import Engine
from pipeline.errors import SlipwayError
from pipeline.matrix.cells import Cell

from .base import ProjectCommand, flag, number, value

MOST_JOBS = 256
"""How many jobs GitHub makes of one matrix at the most."""

LONGEST_NAME = 80
"""Characters of a job's name above which its last groups are only counted."""

GROUPS: Mapping[str, Callable[[Cell], str]] = {
    "model": lambda cell: cell.model.model,
    "variant": lambda cell: cell.model.subject,
    "backend": lambda cell: cell.backend.name,
    "cell": lambda cell: cell.subject,
}
"""What cells can be grouped by, and the group of a cell."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cells for one job. `seconds` is what they took when last built; where unknown, the mean counts."""

    name: str
    cells: tuple[Cell, ...]
    seconds: float

    @property
    def tasks(self) -> str:
        """The words for doit's command line."""
        return " ".join(task_of(cell) for cell in self.cells)


@dataclass(frozen=True)
class CellsOptions:
    """See `doit help cells`."""

    format: str = value(
        "what to write [default: %(default)s]",
        default="lines",
        choices={
            "github": "for strategy.matrix",
            "json": "for programs",
            "lines": "for the shell",
            "shared": "instead of the cells the tasks that all jobs share",
        },
    )
    group_by: str = value(
        "what the cells of a job have in common [default: %(default)s]",
        default="variant",
        choices={"model": "all variants", "variant": "a variant", "backend": "a backend", "cell": "each by itself"},
    )
    max_jobs: int = number("merge groups until there are so many [default: %(default)s]", default=MOST_JOBS)
    stale: bool = flag("leave out cells that are fresh, or that a store has")
    runs_on: str = value("the runner of the jobs [default: %(default)s]", default="ubuntu-24.04")


class Cells(ProjectCommand[CellsOptions]):
    """list the compiles of the matrix in groups, one for each CI job (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "cells"
    doc_description = (
        "github: the matrix of a job, on one line. lines: the tasks of one group on each line. json: everything "
        "known of each cell. shared: the tasks that come before the cells or beside them (toolchains, weights, "
        "parameters), to be built once for all jobs. Cells of one variant share work when they are in one job, so "
        "that is how they are grouped by default. Exit status: 0, or 3 when the matrix is wrong."
    )

    def answer(self, session: Session, options: CellsOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        engine = session.engine
        if options.format == "shared":
            self.say(" ".join(shared(engine)))
            return 0
        tasks = [task_of(cell) for cell in session.project.matrix.cells]
        foreseen = {item.name: item for item in forecast(engine, tasks) if item.name in set(tasks)}
        there = {name for name in tasks if options.stale and foreseen[name].state in {"fresh", "restore", "fetch"}}
        cells = [cell for cell in session.project.matrix.cells if task_of(cell) not in there]
        if not 1 <= options.max_jobs <= MOST_JOBS:
            what = f"--max-jobs={options.max_jobs} is no number of jobs"
            raise SlipwayError(what, hint=f"give a number from 1 to {MOST_JOBS}")
        groups = merged(grouped(cells, options.group_by, foreseen), options.max_jobs)
        if options.format == "github":
            self.say(json.dumps(github(groups, options.runs_on)))
        elif options.format == "json":
            self.show([_document(group, foreseen) for group in groups], (), as_json=True)
        else:
            self.show(None, [group.tasks for group in groups], as_json=False)
        return 0


def shared(engine: Engine) -> list[str]:
    """The tasks that come before the compiles or beside them: toolchains, weights, parameters.

    Several cells read them, and so do the proofs: they are to be built once, and handed to all jobs.
    """
    behind: set[str] = set()
    found = []
    for name, action in engine.actions.items():
        if action.step == "compile" or any(edge.action in behind for edge in action.upstream.values()):
            behind.add(name)
        elif action.step not in {"bundle", "device"}:
            found.append(name)
    return found


def task_of(cell: Cell) -> str:
    """The task that compiles a cell."""
    return f"compile:{cell.subject}"


def grouped(cells: Iterable[Cell], by: str, foreseen: Mapping[str, Forecast]) -> list[Group]:
    """Cells in groups, both in the order of the matrix. `by` is a key of `GROUPS`, `foreseen` tells the seconds."""
    members: dict[str, list[Cell]] = {}
    for cell in cells:
        members.setdefault(GROUPS[by](cell), []).append(cell)
    known = [item.seconds for item in foreseen.values() if item.seconds is not None]
    mean = sum(known) / len(known) if known else 1.0

    def seconds(cell: Cell) -> float:
        found = foreseen[task_of(cell)].seconds
        return mean if found is None else found

    return [Group(name, tuple(some), sum(map(seconds, some))) for name, some in members.items()]


def merged(groups: Sequence[Group], most: int) -> list[Group]:
    """At most so many groups, of about equal length: the longest first, each to the job that has least to do."""
    if len(groups) <= most:
        return list(groups)
    jobs: list[tuple[float, int, list[int]]] = [(0.0, number, []) for number in range(most)]
    for index in sorted(range(len(groups)), key=lambda i: (-groups[i].seconds, i)):
        seconds, number, content = heapq.heappop(jobs)
        heapq.heappush(jobs, (seconds + groups[index].seconds, number, [*content, index]))
    found = []
    for seconds, _, content in sorted(jobs, key=lambda job: min(job[2])):
        parts = [groups[index] for index in sorted(content)]
        found.append(Group(_joined([part.name for part in parts]), tuple(c for p in parts for c in p.cells), seconds))
    return found


def github(groups: Iterable[Group], runs_on: str) -> dict[str, object]:
    """What `strategy.matrix` takes with fromJSON."""
    return {"include": [{"name": group.name, "tasks": group.tasks, "runs-on": runs_on} for group in groups]}


def _joined(names: Sequence[str]) -> str:
    """The names of merged groups, as far as a job's name should go."""
    lengths = accumulate(len(name) + 2 for name in names)
    fitting = max(1, sum(length <= LONGEST_NAME for length in lengths))
    rest = len(names) - fitting
    return ", ".join(names[:fitting]) + (f" and {rest} more" if rest else "")


def _document(group: Group, foreseen: Mapping[str, Forecast]) -> dict[str, object]:
    return {
        "name": group.name,
        "tasks": group.tasks,
        "seconds": group.seconds,
        "cells": [
            {
                "task": task_of(cell),
                "model": cell.model.model,
                "variant": cell.model.variant,
                "backend": cell.backend.name,
                "toolchain": cell.toolchain,
                "device": cell.backend.device_kind,
                "triple": cell.backend.triple,
                "state": foreseen[task_of(cell)].state,
                "seconds": foreseen[task_of(cell)].seconds,
            }
            for cell in group.cells
        ],
    }
