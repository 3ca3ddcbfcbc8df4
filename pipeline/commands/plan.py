"""`doit plan`: what a run would do, task by task, and why; nothing is built, locked or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from doit.cmd_base import DoitCmdBase

from pipeline.errors import SlipwayError
from pipeline.run.forecast import Forecast, forecast
from pipeline.session import current

MARKS = {"fresh": "  ", "restore": "↺ ", "fetch": "↓ ", "build": "▸ ", "unknown": "? "}

ALL = {
    "name": "all",
    "short": "a",
    "long": "all",
    "type": bool,
    "default": False,
    "help": "also list the tasks that are fresh [default: %(default)s]",
}


class Plan(DoitCmdBase):  # type: ignore[misc]
    """show what would run, and why"""  # noqa: D415 - doit prints this as it is

    name = "plan"
    doc_purpose = "show what would run, and why (Slipway)"
    doc_usage = "[TASK ...]"
    doc_description = (
        "States: build, restore (from this machine's store), fetch (from the remote store), unknown, fresh."
    )
    cmd_options = (ALL,)

    def _execute(self, all: bool, pos_args: list[str]) -> int:  # noqa: A002 - doit fills options in by name
        engine = current().engine
        try:
            listed = list(forecast(engine, pos_args or None))
        except SlipwayError as error:
            self.outstream.write(f"ERROR: {error}\n")
            return 3
        for line in _lines(listed, everything=all):
            self.outstream.write(line + "\n")
        return 0


def _lines(listed: list[Forecast], *, everything: bool) -> Iterator[str]:
    for item in listed:
        if everything or item.state != "fresh":
            yield f"{MARKS[item.state]}{item.name:<44} {item.state:<8} {item.reason}".rstrip()
    counts = Counter(item.state for item in listed)
    yield f"{len(listed)} tasks: " + (
        ", ".join(f"{n} to {s}" if s != "fresh" else f"{n} fresh" for s, n in counts.items())
    )
    seconds = sum(item.seconds for item in listed if item.state in {"build", "unknown"})
    if seconds:
        yield f"about {seconds:.0f} s of work, as long as these tasks took last time; new tasks are not counted"
