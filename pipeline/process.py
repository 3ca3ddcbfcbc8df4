"""The one gateway for running other programs.

Every subprocess of the project goes through `run`: no shell, a log that says what was run and with which differences of
environment, and errors that carry the last lines of what the program said.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import StepError, ToolMissing


class Finished(NamedTuple):
    """How a program ended. `output` is stdout and stderr as they came, decoded with replacement."""

    command: tuple[str, ...]
    status: int
    output: str


def run(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> Finished:
    """Run a program to its end and return what it said.

    Args:
        command: program and arguments; never given to a shell.
        log: file to append the command line and its output to.
        cwd: directory to run in.
        env: changes to the environment; None as a value removes the variable.
        check: raise when the status is not 0.
        timeout: seconds of wall time.

    Raises:
        ToolMissing: the program does not exist.
        StepError: it failed (with `check`), or ran out of time.
    """
    words = tuple(str(word) for word in command)
    environment = dict(os.environ)
    for name, value in (env or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    changes = [f"{n}={shlex.quote(v)}" if v is not None else f"-u {n}" for n, v in sorted((env or {}).items())]
    line = " ".join([*(["env", *changes] if changes else []), shlex.join(words)])
    try:
        done = subprocess.run(
            words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ToolMissing(f"{words[0]} is not installed", hint=f"install it, or put it on PATH: {words[0]}") from None
    except subprocess.TimeoutExpired as late:
        text = (late.output or b"").decode(errors="replace")
        _append(log, line, text)
        raise StepError(f"{words[0]} did not end within {timeout:g} s", log=log) from None
    text = done.stdout.decode(errors="replace")
    _append(log, line, text)
    if check and done.returncode != 0:
        tail = "\n    ".join(text.strip().splitlines()[-8:])
        raise StepError(f"{words[0]} ended with status {done.returncode}:\n    {tail}", log=log)
    return Finished(words, done.returncode, text)


def _append(log: Path | None, line: str, text: str) -> None:
    if log is not None:
        with log.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"$ {line}\n{text}")


def state_of(path: Path) -> list[str | int]:
    """What changes with the file behind the path; links are followed (`cc` is one, by way of another, to `gcc-12`)."""
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ino]
