"""Exceptions as JSON, on their way from a child process to its caller: pickle is never loaded from anywhere.

`server` calls `describe` in the child, `worker` calls `rebuild` in the doit process.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from pipeline import errors
from pipeline.errors import SlipwayError, StepError

from .wire import Failure

LINES = 8
"""How much of a foreign exception's text reaches the user; the rest is in the log, with the traceback."""

_OURS = (Path(errors.__file__).parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")))
_TREE = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SlipwayError)
}


def describe(error: BaseException) -> Failure:
    """Say what `rebuild` needs: a `SlipwayError` keeps its class and fields, anything else becomes a StepError.

    The place of a foreign exception is the innermost line of the *user's* code (a recipe, not a library it called),
    because that is the line the user can change.
    """
    if isinstance(error, SlipwayError):
        where = error.where
        return Failure(
            type=next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _TREE),
            what=error.what,
            where=str(where) if isinstance(where, Path) else where,
            hint=error.hint,
            log=None if error.log is None else str(error.log),
        )
    lines = str(error).strip().splitlines()
    text = "\n".join(lines[:LINES] + ["…"] * (len(lines) > LINES))
    name = type(error).__name__
    return Failure("StepError", f"{name}: {text}" if text else name, where=_place(error))


def rebuild(failure: Failure, log: Path | None = None) -> SlipwayError:
    """Make the exception again; `log` is the caller's, if it has one, for errors that name none of their own."""
    kind = _TREE.get(failure.type, StepError)
    if failure.log:
        log = Path(failure.log)
    elif not issubclass(kind, StepError):
        log = None
    return kind(failure.what, where=failure.where, hint=failure.hint, log=log)


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"  # the file that is wrong never became a frame
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return next((f"{file}:{line}" for file, line in reversed(frames) if _is_users(file)), None)


def _is_users(file: str) -> bool:
    path = Path(file)
    is_library = {"site-packages", "dist-packages"} & {*path.parts} or any(map(path.is_relative_to, _OURS))
    return path.is_file() and not is_library
