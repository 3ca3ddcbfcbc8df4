"""The no-op stamp: what a complete run looked at, by which the next plain `doit` sees that nothing has changed.

`doit_plugin.session` writes it after a run in which every task was up to date; `commands.run` compares it before doit
loads a dodo.py. Where a single file's state differs the run goes the long way, where content decides.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline import settings
from pipeline.files import State, look
from pipeline.files.sealed import read_sealed, write_sealed

FORMAT = 7
FOLDER = "build/stamp"
VARIABLES = ("PATH", "SLIPWAY_STRICT", "SLIPWAY_STORE", "SLIPWAY_CACHE", *settings.TOOL_VARIABLES)
"""Environment variables that decide which tools are found and what is asked of them."""


def unchanged(arguments: list[str]) -> str | None:
    """What to print instead of running, when this is a plain run in a tree where nothing has changed; else None."""
    if not (is_plain_run(arguments) and settings.are_plain()):
        return None
    body = read_sealed(path_of(targets_path(arguments)))
    if body is None:
        return None
    try:
        form, identity, said, states = marshal.loads(body)  # noqa: S302 - our own file, and its checksum is right
    except (ValueError, EOFError, TypeError):
        return None
    if form != FORMAT or identity != _identity():
        return None
    return said if all(look(path) == state for path, state in states) else None


def save(targets: str, said: str, states: Mapping[str, State]) -> None:
    """Write the stamp of a complete run of a matrix file. Failing to is no error: there is none, then."""
    write_sealed(path_of(targets), marshal.dumps((FORMAT, _identity(), said, tuple(states.items()))))


def drop(targets: str) -> None:
    """Remove the stamp: something is about to change.

    Raises:
        OSError: it is there, and cannot be removed.
    """
    path = path_of(targets)
    if path.is_file() or path.is_symlink():  # anything else is no stamp
        path.unlink()


def is_plain_run(arguments: list[str]) -> bool:
    """Whether a command line of doit asks for all tasks and nothing special; `-n N` and `targets=PATH` may be there."""
    words = [word for word in arguments if not word.startswith("targets=")]
    if words[:1] == ["run"]:
        del words[0]
    if words[:1] in (["-n"], ["--process"]) and words[1:] and words[1].isdecimal():
        del words[:2]
    return not words


def targets_path(arguments: Iterable[str]) -> str:
    """The matrix file a command line names: `targets=PATH`, else SLIPWAY_TARGETS, else targets.yaml."""
    named = [word.partition("=")[2] for word in arguments if word.startswith("targets=")]
    return named[-1] if named else settings.text("SLIPWAY_TARGETS") or "targets.yaml"


def path_of(targets: str) -> Path:
    """Where the stamp of a matrix file lies: in `build/` beside it."""
    path = Path(targets)
    return path.parent / FOLDER / path.name


def _identity() -> tuple[str, str, str, tuple[str | None, ...]]:
    return sys.version, sys.executable, str(Path.cwd()), tuple(os.environ.get(name) for name in VARIABLES)
