"""The options of this process's command line: the commands set them before doit loads a dodo.py."""

from __future__ import annotations

import logging
from dataclasses import replace

from pipeline import settings
from pipeline.engine.options import Options

_given = Options()

LOG_FORMAT = "%(relativeCreated)7.0f ms %(name)s: %(message)s"


def set_options(options: Options) -> None:
    """Keep the options for `doit_plugin.session`, and turn on the debug log where they ask for it."""
    global _given  # noqa: PLW0603 - doit makes the command and loads the dodo.py apart: there is no other way to pass it
    _given = options
    if options.debug:
        logging.basicConfig(format=LOG_FORMAT)
        logging.getLogger("pipeline").setLevel(logging.DEBUG)


def options() -> Options:
    """What the command line asked for; SLIPWAY_DEBUG=1 asks for the debug log in any command."""
    if not _given.debug and settings.flag("SLIPWAY_DEBUG"):
        set_options(replace(_given, debug=True))
    return _given
