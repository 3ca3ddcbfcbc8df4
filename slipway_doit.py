"""What doit finds at Slipway's entry points: `commands.run.Run` and the like, from the package `pipeline` beside this.

With `python -m doit` the working directory comes first on `sys.path`, and a folder `pipeline` there would be taken for
Slipway's. So the package is imported by its place, before anything else can be found under that name.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import TracebackType


def _interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python does with an error that nobody caught: no traceback for Ctrl-C, from here on (see quirk DOIT-7)."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _interrupted

HOME = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - a call with nothing to do passes here


def __getattr__(path: str) -> object:
    module, _, name = path.rpartition(".")
    if not module:
        raise AttributeError(path)
    if "pipeline" not in sys.modules:
        sys.path.insert(0, HOME)
        try:
            importlib.import_module("pipeline")
        finally:
            sys.path.remove(HOME)
    return getattr(importlib.import_module(f"pipeline.{module}"), name)
