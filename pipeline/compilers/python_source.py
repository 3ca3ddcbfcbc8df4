"""Runs the functions of a user's recipe, and turns whatever goes wrong in them into a message with a file and a line.

`sources` calls it for factories, `session` for checks. A recipe is trusted like a Makefile and runs in a child process;
the traceback of its mistakes goes to stderr, which is the action's log. It knows no compiler.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import SlipwayError, StepError
from pipeline.nearest import did_you_mean

from .confinement import Confinement, unwatched
from .recipe_modules import OURS, RENAME

CONFIG_HINT = (
    "while compiling, a recipe sees only the weight files that match the model's `config` patterns (*config.json where "
    "it has none): add the file there, or return the parameters as functions, which compiling does not call"
)


R = TypeVar("R")


def load_function(scope: Confinement, name: str) -> Callable[..., Any]:
    """Import the Python file of a scope and return its function `name`.

    Files beside it that it imports are found as for a script.

    Raises:
        StepError: there is no such function, or importing it failed.
    """
    path = scope.source
    module = run(scope.modules.load, path, path, name="importing it")
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    hint = did_you_mean(name, own) or f"it defines {', '.join(sorted(own)) or 'nothing'}"
    raise StepError(f"there is no function {name!r} in this recipe", where=path, hint=hint)


def run(
    function: Callable[..., R],
    path: Path,
    *arguments: object,
    weights: Path | None = None,
    name: str | None = None,
) -> R:
    """Call a recipe's function; an exception becomes a `StepError` at the recipe's line that let it happen.

    Where the recipe was given the narrowed directory of `weights`, a file missing in it is explained. `name` is what to
    call the function in a message, where its own name would say nothing.
    """
    try:
        return function(*arguments)
    except SlipwayError:
        raise
    except (Exception, SystemExit) as error:
        with unwatched():
            raise _explain(error, path, name or str(getattr(function, "__name__", "it")), weights) from error


def _explain(error: BaseException, path: Path, doing: str, weights: Path | None) -> StepError:
    traceback.print_exception(error)
    if isinstance(error, SyntaxError) and error.filename is not None:
        place = f"{error.filename}:{error.lineno}:{error.offset or 1}"
        return StepError(f"this is not Python: {error.msg}", where=place, hint="correct the recipe")
    text = " ".join(str(error).split()) or "no message"
    if weights is not None:
        text = text.replace(f"{weights}/", "")  # a directory made for this call, which nobody else ever sees
    what = f"{doing} raised {type(error).__name__}: {text[:400]}"
    where = _last_line(error, path)
    missing = str(error.filename or error) if isinstance(error, FileNotFoundError) else ""
    if weights is not None and str(weights) in missing:
        return StepError(what, where=where, hint=CONFIG_HINT)
    if missing:
        return StepError(what, where=where, hint="put the file there, or correct the recipe")
    if isinstance(error, ImportError) and f"{error.name}.".startswith(f"{OURS.name}."):
        return StepError(what, where=where, hint=RENAME)
    if isinstance(error, ModuleNotFoundError):
        hint = (
            f"install what provides {error.name!r} in the toolchain's environment; a module of your own must lie "
            "beside the recipe"
        )
        return StepError(what, where=where, hint=hint)
    return StepError(what, where=where, hint="correct the recipe; the traceback is in the log")


def _last_line(error: BaseException, path: Path) -> str:
    """`file:line` of the innermost frame that is in the recipe or in a file beside it."""
    home = path.parent.resolve()
    frames = traceback.extract_tb(error.__traceback__)
    # The frames of compiled code name the file it was made of, relative to wherever that was.
    own = [frame for frame in frames if (file := Path(frame.filename)).is_absolute() and home in file.resolve().parents]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else str(path)
