"""`doit run` with Slipway's options: doit's own command, told three things more.

A plugin named `run` replaces doit's in every project of this Python; without the options it does just what doit's does.
"""

from __future__ import annotations

from typing import Any

from doit.cmd_run import Run as DoitRun

from pipeline.options import OPTIONS

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


class Run(DoitRun):  # type: ignore[misc]
    """run tasks"""  # noqa: D415 - doit prints this as it is

    name = "run"
    cmd_options = (*DoitRun.cmd_options, STRICT, STORE_ONLY)

    def execute(self, params: Any, args: list[str]) -> Any:
        """Keep the options for the session, which is opened while doit loads the tasks."""
        OPTIONS.strict = params["strict"]
        OPTIONS.store_only = params["store_only"]
        OPTIONS.always = params["always"]
        return super().execute(params, args)
