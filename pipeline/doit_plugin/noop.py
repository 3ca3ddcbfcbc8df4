"""The short way out: a plain `doit` in a tree where nothing changed ends here, before doit makes its tasks.

After a run in which every task was fresh, the session has `save` write down the state (size, times, inode) of every
file that could make a task stale: inputs, outputs, tools, our own code. `compare` holds it against the file system.
When all is as it was the process ends with the words the last run left; when only files have changed that actions read
or wrote, `last_plan` has the rest; any other doubt sends the run the long way, where content decides.

`commands.run` and `session` come here. This module imports nothing that is not loaded anyway, and uses `os` where
pathlib would cost more than the whole check.
"""

from __future__ import annotations

import atexit
import contextlib
import marshal
import os
import sys
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .aside import Aside

FORMAT = 6
FOLDER = os.path.join("build", "snapshot")
VARIABLES = (
    "PATH", "SLIPWAY_STRICT", "SLIPWAY_STORE", "SLIPWAY_CACHE", "DEVELOPER_DIR", "SDKROOT", "MLC_LLM_SOURCE_DIR",
    "TVM_SOURCE_DIR", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK", "ANDROID_HOME", "ANDROID_SDK_ROOT",
)  # fmt: skip
"""Environment variables that decide which tools are found and what is asked of them."""

GRAIN = 20_000_000
"""Nanoseconds. A file that changed less than this before it was looked at could change again and keep its times: the
clock of the file system ticks every 4 to 10 ms on Linux."""

State = tuple[int, int, int, int]
FIELDS = 4
PIECE = 256
"""Files that are looked at before what was found is looked at."""

MANY = 2000
"""Files for which it is worth the three milliseconds to have another process look at them."""

MISSING: State = (-1, 0, 0, 0)
"""A file that is not there may be what decides, too."""


class Snapshot(NamedTuple):
    """What a complete run left.

    Attributes:
        said: the last words of the run.
        paths: of all files that could make a task stale.
        states: `FIELDS` numbers for each path, in their order.
        head: what the file has before the states, where this comes from there.
    """

    said: str
    paths: tuple[str, ...]
    states: array[int]
    head: memoryview | None = None


Differences = list[tuple[int, State]]
"""The numbers of paths that are not as they were, and their state now."""


class Comparison:
    """What has changed since a complete run.

    Attributes:
        file: the state of the snapshot's own file.

    Args:
        before: the snapshot. Its states become those of now.
        file: see above.
    """

    def __init__(self, before: Snapshot, file: State) -> None:
        self.file = file
        self._snapshot = before
        self._changed: list[int] = []
        self._rest: Aside[Differences] | None = None

    def look(self) -> None:
        """Look at all files. Once one has changed there is more to do than that, so the rest is done beside it."""
        count = len(self._snapshot.paths)
        for end in range(PIECE, count + PIECE, PIECE):
            self._take(_differences(self._snapshot, end - PIECE, end))
            if self._changed and count - end > MANY:
                from . import aside  # noqa: PLC0415 - only then

                if aside.is_possible():
                    self._rest = aside.Aside(partial(_differences, self._snapshot, end, count))
                    return

    @property
    def said(self) -> str:
        """The last words of that run."""
        return self._snapshot.said

    @property
    def is_idle(self) -> bool:
        """Whether nothing has changed."""
        return not self._changed

    def complete(self) -> tuple[Snapshot, tuple[int, ...]]:
        """The snapshot, with states as they are now, and the numbers of those of its paths that have changed."""
        rest, self._rest = self._rest, None
        if rest is not None:
            self._take(rest.result())
        return self._snapshot, tuple(self._changed)

    def _take(self, found: Differences) -> None:
        for number, state in found:
            self._changed.append(number)
            self._snapshot.states[FIELDS * number : FIELDS * (number + 1)] = array("q", state)


PROGRAMS = {"doit", "doit.exe", "__main__.py"}
"""What a process is called that is doit and nothing else; the last is `python -m doit`."""

UNHEARD = 120
"""The status of a Python process that could not say its last words."""

FOUND: list[Comparison] = []
"""What `leave_if_untouched` found, at most one: for the session, if there is one after all."""


def leave_if_untouched(arguments: list[str]) -> None:
    """End the process, with the words the last run left, when it is a plain run in a tree where nothing has changed.

    Args:
        arguments: the command line after `doit`.
    """
    if not is_plain_run(arguments):
        return
    found = compare(targets_path(arguments))
    if found is None:
        return
    if found.is_idle:
        with contextlib.suppress(BrokenPipeError):  # nobody listens
            sys.stdout.write(found.said)
        leave(0)
        sys.exit(0)
    FOUND.append(found)


def leave(status: int) -> None:
    """End the process, and spare the time to take doit apart: a tenth of all it takes to find nothing to do.

    Comes back where that may not be ours to do: somebody else's program has called doit, or threads are running.
    """
    if os.path.basename(sys.argv[0]) not in PROGRAMS or threading.active_count() > 1:
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to have them run, and a coverage tool may wait
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or UNHEARD
    os._exit(status)


def is_plain_run(arguments: list[str]) -> bool:
    """Whether a command line of doit asks for all tasks and nothing special; `-n N` and `targets=PATH` may be there."""
    words = [word for word in arguments if not word.startswith("targets=")]
    if words[:1] == ["run"]:
        del words[0]
    if words[:1] in (["-n"], ["--process"]):
        del words[:2]
    return not words


def targets_path(arguments: Iterable[str]) -> str:
    """The matrix file a command line names: `targets=PATH`, else SLIPWAY_TARGETS, else targets.yaml."""
    named = [word.partition("=")[2] for word in arguments if word.startswith("targets=")]
    return named[-1] if named else os.environ.get("SLIPWAY_TARGETS") or "targets.yaml"


def compare(targets: str) -> Comparison | None:
    """Hold the snapshot of a matrix file against the file system; None where there is none that means anything."""
    path = path_of(targets)
    file = look(path)
    try:
        with open(path, "rb") as opened:  # not `mapped`: where nothing has changed, to load that takes longer
            data = unsealed(memoryview(opened.read()), FORMAT)
    except OSError:
        return None
    if data is None:
        return None
    identity, said, paths = marshal.loads(data)  # noqa: S302 - our own file, and its checksum is right
    if identity != _identity():
        return None
    states = array("q")
    end = len(data) - len(paths) * FIELDS * states.itemsize
    states.frombytes(data[end:])
    found = Comparison(Snapshot(said, paths, states, data[:end]), file)
    found.look()
    return found


def _differences(before: Snapshot, start: int, end: int) -> Differences:
    """Look at some of a snapshot's paths. Few will differ, so all are compared first."""
    now, states = _look_at(before.paths[start:end]), before.states[FIELDS * start : FIELDS * end]
    if now == states:
        return []
    pairs = zip(_rows(states), _rows(now), strict=True)
    return [(number, state) for number, (was, state) in enumerate(pairs, start) if state != was]


def _rows(states: array[int]) -> Iterator[State]:
    numbers = iter(states)
    return zip(numbers, numbers, numbers, numbers, strict=True)


def _look_at(paths: tuple[str, ...]) -> array[int]:
    stat, absent = os.stat, array("q", MISSING)
    now = array("q", bytes(len(paths) * FIELDS * absent.itemsize))
    at = 0
    for path in paths:
        try:
            found = stat(path)
        except OSError:
            now[at : at + FIELDS] = absent
        else:
            now[at] = found.st_size
            now[at + 1] = found.st_mtime_ns
            now[at + 2] = found.st_ino
            now[at + 3] = found.st_ctime_ns
        at += FIELDS
    return now


def of(said: str, states: Mapping[str, State]) -> Snapshot:
    """A snapshot, from each path's state as it was when its content was looked at."""
    # The shorter a path is, the sooner the kernel has found it.
    above = here()
    paths = tuple([path.removeprefix(above) for path in states])
    return Snapshot(said, paths, array("q", (number for state in states.values() for number in state)))


def here() -> str:
    """What the paths of a snapshot are relative to, as far as they are below it."""
    return f"{os.getcwd()}/"


def save(targets: str, taken: Snapshot) -> None:
    """Write the snapshot of a complete run of a matrix file."""
    head = taken.head or marshal.dumps((_identity(), taken.said, taken.paths))
    write_sealed(path_of(targets), FORMAT, head, memoryview(taken.states).cast("B"))


def drop(targets: str) -> None:
    """Forget the snapshot: something is about to change."""
    try:
        os.unlink(path_of(targets))
    except OSError:
        return


def look(path: str) -> State:
    """What a file must have kept to count as untouched; `MISSING` where it is not there."""
    try:
        now = os.stat(path)
    except OSError:
        return MISSING
    return now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns


def is_recent(state: State, when: int) -> bool:
    """Whether a file changed so shortly before `when` (ns) that it could change again and keep its times."""
    return max(state[1], state[3]) > when - GRAIN


def path_of(targets: str) -> str:
    """Where the snapshot of a matrix file lies: in `build/` beside it."""
    folder, name = os.path.split(targets)
    return os.path.join(folder, FOLDER, name)


def unsealed(data: memoryview, form: int) -> memoryview | None:
    """What is in a file that `write_sealed` wrote, of which this is the content; None where it is damaged."""
    body = data[4:]
    return body if len(body) and data[:4] == _seal(form, [body]) else None


def write_sealed(path: str, form: int, *body: bytes | memoryview) -> None:
    """Write a file of ours with a checksum, atomically. Failing to is no error: there is none, then."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.writelines([_seal(form, body), *body])
        os.replace(temporary, path)
    except OSError:
        for leftover in (temporary, path):
            try:
                os.unlink(leftover)
            except OSError:
                continue


def _seal(form: int, body: Iterable[bytes | memoryview]) -> bytes:
    """A checksum that is wrong for what another form or another Python has written."""
    checksum = zlib.crc32(sys.version.encode(), form)
    for part in body:
        checksum = zlib.crc32(part, checksum)
    return checksum.to_bytes(4, "little")


def _identity() -> tuple[str, str, str, tuple[str | None, ...]]:
    return sys.version, sys.executable, os.getcwd(), tuple(os.environ.get(name) for name in VARIABLES)
