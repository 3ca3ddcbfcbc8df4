"""`doit run` with Slipway's options: doit's own command, told three things more, and left early if nothing changed.

A plugin named `run` replaces doit's in every project of this Python; without the options it does just what doit's does.
Most calls have nothing to do, so nothing may be imported here that doit has not imported already.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from fnmatch import fnmatch
from typing import NoReturn

from doit import control, runner
from doit.cmd_run import Run as DoitRun
from doit.exceptions import InvalidCommand, TaskFailed
from doit.exceptions import UnmetDependency as DoitUnmetDependency

from pipeline.doit_plugin import noop

from .friendly import DEBUG, Friendly, flushed, setting, steady_streams

OPTIONS = (
    setting(
        "strict",
        "a proof that cannot be made here (no linker, say) is an error [default: %(default)s]",
        variable="SLIPWAY_STRICT",
    ),
    setting(
        "store_only",
        "build nothing: take everything from the store, fail where it lacks something [default: %(default)s]",
        long="from-store-only",
    ),
    setting(
        "trace_reads",
        "run the steps of `steps:` again under strace (Linux), and fail where one reads what it does not declare "
        "[default: %(default)s]",
    ),
    setting(
        "on",
        "have compiles and checks done by the workers of this scheduler, tcp://HOST:PORT or tls://HOST:PORT",
        kind=str,
        variable="SLIPWAY_ON",
    ),
    DEBUG,
)
IN_FLIGHT = 64
"""Tasks at one time where a cluster does them: threads that only wait. How many are done here is limited anyway."""


_TOO_LITTLE = """there is too little memory to go on: what is finished is kept
  hint: raise the limit (ulimit -v), or run fewer tasks at a time (-n)"""


_NO_TASKS = """it has no tasks
  hint: those of targets.yaml come with one line: from pipeline.dodo import DOIT_CONFIG, task_slipway"""


class UnmetDependency(DoitUnmetDependency, TaskFailed):  # type: ignore[misc]
    """A task that waits for one that failed: to doit an error of its own, and `-c` would end with another status."""


class Node(control.ExecNode):  # type: ignore[misc]
    """A task on its way through doit. Those that wait for it go on in the order of the plan, not in that of a set.

    The plan has cells of one lowering where they neither wait for one another nor come when it is gone
    (see quirk DOIT-8).
    """

    def __init__(self, task: object, parent: object) -> None:
        super().__init__(task, parent)
        self.waiting_me = InOrder()


class InOrder(dict[object, None]):
    """What doit asks of a set of nodes, in the order in which they were added."""

    def add(self, node: object) -> None:
        """Add one."""
        self[node] = None


class Run(Friendly, DoitRun):  # type: ignore[misc]
    """run tasks"""  # noqa: D415 - doit prints this as it is

    cmd_options = (*DoitRun.cmd_options, *OPTIONS)

    def __init__(self, **kwargs: object) -> None:
        """Stop at the no-op stamp, before doit asks every installed distribution for its plugins."""
        said = noop.unchanged(sys.argv[1:])
        if said is not None:
            steady_streams()
            sys.exit(flushed(0, said))
        super().__init__(**kwargs)

    def work(self, params: dict[str, object], args: list[str]) -> object:
        """Keep the options for the session, which is opened while doit loads the tasks."""
        from pipeline.documents.codec import decode  # noqa: PLC0415
        from pipeline.doit_plugin.options import options, set_options  # noqa: PLC0415 - a no-op does not come here
        from pipeline.engine.options import Options  # noqa: PLC0415

        set_options(decode(Options, params, self.name))
        if options().on and "num_process" not in params._non_default_keys:  # type: ignore[attr-defined]  # noqa: SLF001
            params["num_process"] = IN_FLIGHT
        if params["outfile"] is None:
            params["outfile"] = sys.stdout  # doit took it when it was closed
        try:
            return super().work(params, args)
        except KeyboardInterrupt:
            if not _is_ours():
                raise
            _die()
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "thread" not in str(error):
                raise
            raise InvalidCommand(_TOO_LITTLE) from error

    @functools.wraps(DoitRun._execute)  # noqa: SLF001 - the seam that doit has
    def _execute(self, **given: object) -> object:
        """Run in threads, whatever `-P` says: the engine is one for all tasks, and heavy work has its own processes."""
        if _is_ours():
            given["par_type"] = "thread"
            runner.UnmetDependency = UnmetDependency
            control.ExecNode = Node
            for word in self.sel_tasks or ():
                if "*" in word and not any(fnmatch(task.name, word) for task in self.task_list):
                    raise InvalidCommand(not_found=word)
        if not self.task_list:
            sys.stderr.write(f"{self.loader.dodo}: {_NO_TASKS}\n")
        outfile = given["outfile"]
        try:
            return super()._execute(**given)
        except OSError as error:
            if not isinstance(outfile, str) or error.filename != outfile:
                raise
            raise InvalidCommand(f"-o {outfile}: cannot be written: {error.strerror}") from error


def _is_ours() -> bool:
    """Whether the dodo.py is Slipway's; another project is run as doit would."""
    return "pipeline.dodo" in sys.modules


def _die() -> NoReturn:
    """End as one who was interrupted ends, at once: threads in the middle of an action are not waited for.

    What they leave is in scratch, where the next run clears it.
    """
    if sys.__stdout__ is not None and sys.__stderr__ is not None:  # doit's actions borrow sys.stdout and sys.stderr
        sys.__stdout__.flush()
        sys.__stderr__.write("interrupted; what is finished is kept: doit goes on from there\n")
        sys.__stderr__.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(128 + signal.SIGINT)  # if that is blocked
