"""`doit worker`: a machine that performs what `doit --on` gives to a cluster. It needs no project."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import settings
from pipeline.errors import SlipwayError

from .base import PlainCommand, number, several, value

LONGEST = 100
"""Characters of a name: every result carries it."""


@dataclass(frozen=True)
class WorkerOptions:
    """See `doit help worker`."""

    jobs: int = number(
        "orders at one time; 0: as many as there are processors [default: %(default)s]", default=0, short="n"
    )
    folder: str = value("where its store and environments are kept [default: worker, in the cache of this user]")
    name: str = value(
        "what it is called, by the scheduler and where it is said who did what [default: the machine's name]"
    )
    resources: list[str] = several("gpu=1, xcode=1, memory=BYTES; may be repeated")  # noqa: RUF009 - as `base` has it
    steps: list[str] = several("a package with a project's own steps; may be repeated")  # noqa: RUF009


class WorkerCommand(PlainCommand[WorkerOptions]):
    """be a machine of a cluster, for those who build with `doit --on` (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "worker"
    doc_usage = "tcp://SCHEDULER:PORT"
    doc_description = (
        "Joins the Dask scheduler at that address (tls:// with the certificates that Dask's configuration names) and "
        "keeps the compiler loaded. Needs SLIPWAY_REMOTE and SLIPWAY_REMOTE_WRITE=1. Ends when the scheduler does, or "
        "on Ctrl-C. Exit status: 0, or 3 when it cannot begin."
    )

    def answer(self, options: WorkerOptions, args: Sequence[str]) -> int:
        """See `PlainCommand`."""
        from pipeline.cluster.dask_pool import demand_cluster, serve  # noqa: PLC0415 - `doit help` need not import it
        from pipeline.cluster.performer import performing  # noqa: PLC0415
        from pipeline.cluster.placement import MEMORY  # noqa: PLC0415
        from pipeline.engine.memory import available, processors  # noqa: PLC0415
        from pipeline.store.remote import Remote  # noqa: PLC0415

        if len(args) != 1:
            wrong = f"worker takes one address, not also {args[1]}" if args else "worker of which scheduler?"
            raise SlipwayError(wrong, hint="doit worker tcp://SCHEDULER:8786 [options]")
        if not options.name.isprintable() or len(options.name) > LONGEST:
            raise SlipwayError(f"--name is no word of up to {LONGEST} characters", hint="e.g. --name worker-1")
        amounts = _amounts(options.resources)
        settings.check()
        for slip in settings.slips():
            self._note(slip)
        demand_cluster(args[0], Remote.from_environment(self._note), self._note)
        folder = Path(options.folder).absolute() if options.folder else None
        resources = {MEMORY: float(available()), **amounts}
        with performing(folder, tuple(options.steps), options.name) as here:
            here.warm()
            try:
                serve(
                    args[0],
                    threads=options.jobs or processors(),
                    resources=resources,
                    folder=here.folder_for_cluster,
                    name=options.name or None,
                    ready=lambda: self._note(f"{here.host}: working for {args[0]}"),
                )
            except KeyboardInterrupt:
                self._note("interrupted; what is finished is kept")
        return 0

    def _note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def _amounts(words: Iterable[str]) -> dict[str, float]:
    found = {}
    for word in words:
        name, _, amount = word.partition("=")
        with suppress(ValueError):
            found[name] = float(amount)
        if not (name and 0 < found.get(name, 0) < float("inf")):
            raise SlipwayError(
                f"--resources {word} is not a name and a number above 0",
                hint="e.g. --resources gpu=1 --resources memory=8e9",
            )
    return found
