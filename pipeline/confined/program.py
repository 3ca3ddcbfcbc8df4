"""Runs a program of the user's: a fixed environment, a time limit that holds, no secret in its log.

The step `custom` calls `run`. The program and all it started are gone when it returns.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from pipeline.errors import StepError
from pipeline.process import Finished, command_line, signal_name

from . import launch

KEPT_BYTES = 4 << 20
"""How much of what a program says is kept; what comes later is read and dropped."""

HIDDEN = b"***"

SHORTEST = 8
"""Characters of a secret, and of a line that is hidden by itself: a shorter one is found in anything by chance."""

_GRACE = 10.0
"""Seconds that a killed program has to be gone."""

_log = logging.getLogger(__name__)


def is_held() -> bool:
    """Whether this system keeps a program from writing outside of its folders."""
    return launch.version() > 0


def run(
    command: Sequence[str],
    *,
    before: Sequence[str] = (),
    cwd: Path,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    writable: Sequence[Path],
    readable: Iterable[Path],
    log: Path,
    timeout: float,
) -> Finished:
    """Run a program to its end, and return how it ended and what it said, secrets hidden.

    Args:
        command: the program, by its whole path, and its arguments.
        before: words that stand before the command, of a program that watches it.
        cwd: directory to run in.
        environment: all of its environment but for secrets.
        secrets: further variables, whose values are shown nowhere.
        writable: folders it may write to; see `is_held`.
        readable: what it may read besides, links perhaps: nothing of it is hidden.
        log: file to append the command line and its output to.
        timeout: seconds of wall time.

    Raises:
        StepError: it ran out of time.
    """
    line = command_line(command, {**environment, **dict.fromkeys(secrets, HIDDEN.decode())})
    _log.debug("in %s: %s", cwd, line)
    used = [*map(Path, (sys.executable, *before[:1], command[0])), cwd, *writable, *readable]
    own_memory = not any(os.path.realpath(path).startswith(f"{launch.MEMORY}/") for path in used)
    folders = json.dumps([[str(folder) for folder in writable], own_memory])
    words = [sys.executable, "-I", "-S", launch.__file__, folders, *before, *command]
    process = subprocess.Popen(
        words, cwd=cwd, env={**environment, **secrets}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, bufsize=0,
    )  # fmt: skip
    said = bytearray()
    assert process.stdin is not None  # noqa: S101 - asked for above, as is the other
    assert process.stdout is not None  # noqa: S101
    reader = threading.Thread(target=_read, args=(process.stdout, said), name="step output", daemon=True)
    reader.start()
    try:
        status: int | None = process.wait(timeout)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        with suppress(OSError):
            process.stdin.close()  # all that is left of it ends
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        process.kill()
        process.wait()
        reader.join(_GRACE)
    if cut := len(said) >= KEPT_BYTES:  # a secret may be cut in two there
        del said[-max([1, *map(len, spellings(secrets.values()))]) :]
    dropped = f"\n(more than {KEPT_BYTES >> 20} MiB: the rest was dropped)\n" if cut else ""
    text = masked(bytes(said), secrets.values()).decode(errors="replace") + dropped
    with log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"$ {line}\n{text}")
    if status is None:
        hint = "its last words are in the log; where it needs longer, give the step a larger `timeout`"
        raise StepError(f"{_name(command)} did not end within {timeout:g} s", hint=hint, log=log)
    return Finished(tuple(command), status, text)


_PRINTED = "all that it printed is in the log"


def demand_success(done: Finished, log: Path, hint: str | None = None) -> None:
    """Refuse a status that is not 0, with the last lines that were said.

    Raises:
        StepError: it is another.
    """
    if done.status == 0:
        return
    tail = "".join(f"\n    {line}" for line in done.output.strip().splitlines()[-8:])
    how = f"died of {signal_name(-done.status)}" if done.status < 0 else f"ended with status {done.status}"
    raise StepError(f"{_name(done.command)} {how}{':' if tail else ''}{tail}", hint=hint or _PRINTED, log=log)


def masked(text: bytes, secrets: Collection[str]) -> bytes:
    """The text with every secret, and every longer line of one, replaced."""
    for spelling in spellings(secrets):
        text = text.replace(spelling, HIDDEN)
    return text


def spellings(secrets: Collection[str]) -> list[bytes]:
    """What must not be shown of secrets, longest first: each as it is, without white space around it, and its lines."""
    found: set[bytes] = set()
    for secret in secrets:
        lines = [line.strip() for line in secret.splitlines() if len(line.strip()) >= SHORTEST]
        found |= {os.fsencode(text) for text in (secret, secret.strip(), *lines)}
    return sorted(found - {b""}, key=lambda text: (-len(text), text))


def _read(stream: IO[bytes], into: bytearray) -> None:
    with stream:
        while block := stream.read(1 << 16):
            into += block[: KEPT_BYTES - len(into)]


def _name(command: Sequence[str]) -> str:
    return Path(command[0]).name
