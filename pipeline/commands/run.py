"""`doit run` with Slipway's options: doit's own command, told three things more, and left early if nothing changed.

A plugin named `run` replaces doit's in every project of this Python; without the options it does just what doit's does.
Most calls have nothing to do, so nothing may be imported here that doit has not imported already.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from typing import Any, NoReturn

from doit.cmd_run import Run as DoitRun
from doit.cmdparse import CmdParseError

from pipeline.doit_plugin import noop

from .friendly import Friendly

STRICT = {
    "section": "slipway",
    "name": "strict",
    "short": "",
    "long": "strict",
    "type": bool,
    "default": False,
    "env_var": "SLIPWAY_STRICT",
    "help": "a proof that cannot be made here (no linker, say) is an error [default: %(default)s]",
}
STORE_ONLY = {
    "section": "slipway",
    "name": "store_only",
    "short": "",
    "long": "from-store-only",
    "type": bool,
    "default": False,
    "help": "build nothing: take everything from the store, fail where it lacks something [default: %(default)s]",
}
DEBUG = {
    "section": "slipway",
    "name": "debug",
    "short": "",
    "long": "debug",
    "type": bool,
    "default": False,
    "env_var": "SLIPWAY_DEBUG",
    "help": "log each decision, command and store access, and show tracebacks [default: %(default)s]",
}


class Run(Friendly, DoitRun):  # type: ignore[misc]
    """run tasks"""  # noqa: D415 - doit prints this as it is

    name = "run"
    cmd_options = (*DoitRun.cmd_options, STRICT, STORE_ONLY, DEBUG)

    def __init__(self, **kwargs: Any) -> None:
        """Stop at the no-op stamp, before doit asks every installed distribution for its plugins."""
        said = noop.unchanged(sys.argv[1:])
        if said is not None:
            with contextlib.suppress(BrokenPipeError):  # `| head`
                sys.stdout.write(said)
                sys.stdout.flush()
            sys.exit(0)
        super().__init__(**kwargs)

    def execute(self, params: Any, args: list[str]) -> Any:
        """Keep the options for the session, which is opened while doit loads the tasks."""
        from pipeline.doit_plugin.options import set_options  # noqa: PLC0415 - a no-op does not come here
        from pipeline.engine.options import Options  # noqa: PLC0415

        if params["num_process"] < 0:
            raise CmdParseError(f"-n takes a number of processes, 0 or more, not {params['num_process']}")
        set_options(Options(params["strict"], params["store_only"], params["always"], params["debug"]))
        try:
            return super().execute(params, args)
        except KeyboardInterrupt:
            if "pipeline.dodo" not in sys.modules:
                raise  # the project of somebody else, and what doit does then
            _die()

    @functools.wraps(DoitRun._execute)  # noqa: SLF001 - the seam that doit has
    def _execute(self, **given: Any) -> Any:
        """Run in threads, whatever `-P` says: the engine is one for all tasks, and heavy work has its own processes."""
        if "pipeline.dodo" in sys.modules:
            given["par_type"] = "thread"
        return super()._execute(**given)


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
