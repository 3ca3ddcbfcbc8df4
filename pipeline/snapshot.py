"""The short way out: a plain `doit` in a tree where nothing changed ends here, before doit makes its tasks.

After a run in which every task was fresh, `save` writes down the state (size, times, inode) of every file that could make a
task stale: inputs, outputs, tools, our own code. `unchanged` compares. Any doubt (a file more, an environment variable,
another version of this file's format) sends the run the long way, where content decides. Only `dodo` and `session` come here;
this module must import nothing that is not loaded anyway.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from collections.abc import Iterable

FORMAT = 3
FOLDER = os.path.join("build", "snapshot")
VARIABLES = ("PATH", "SLIPWAY_STRICT", "SLIPWAY_STORE", "SLIPWAY_CACHE", "DEVELOPER_DIR", "SDKROOT")
"""Environment variables that decide which tools are found and what is asked of them."""

State = tuple[int, int, int, int]


def is_plain_run(arguments: list[str]) -> bool:
    """Whether a command line of doit asks for all default tasks and nothing special (`-n` and `targets=` may be there)."""
    rest = [word for word in arguments if not word.startswith("targets=")]
    if rest[:1] == ["run"]:
        rest = rest[1:]
    return not rest or (len(rest) == 2 and rest[0] in {"-n", "--process"})


def targets_path(arguments: Iterable[str]) -> str:
    """The matrix file a command line names: `targets=PATH`, else SLIPWAY_TARGETS, else targets.yaml."""
    named = [word.partition("=")[2] for word in arguments if word.startswith("targets=")]
    return named[-1] if named else os.environ.get("SLIPWAY_TARGETS") or "targets.yaml"


def unchanged() -> str | None:
    """What to say when nothing at all changed since the last complete run; None when something may have."""
    targets = targets_path(sys.argv[1:])
    try:
        with open(_file(targets), "rb") as file:  # noqa: PTH123 - pathlib costs more than this whole check
            data = file.read()
    except OSError:
        return None
    body = memoryview(data)[4:]
    if int.from_bytes(data[:4], "little") != zlib.crc32(body):
        return None
    form, identity, message, paths, states = marshal.loads(body)  # our own file, and its checksum is right
    if form != FORMAT or identity != _identity():
        return None
    stat = os.stat
    try:
        for path, state in zip(paths, states):  # noqa: B905 - strict= costs, and they are written together
            now = stat(path)
            if (now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns) != state:
                return None
    except OSError:
        return None
    return str(message)


def save(targets: str, message: str, paths: Iterable[str]) -> None:
    """Write the snapshot; silently leave it out when a path cannot be read, for then the long way must look."""
    listed = sorted(set(paths))
    try:
        states = [state(path) for path in listed]
    except OSError:
        return
    body = marshal.dumps((FORMAT, _identity(), message, listed, states))
    target = _file(targets)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.{os.getpid()}"
    with open(temporary, "wb") as file:  # noqa: PTH123
        file.write(zlib.crc32(body).to_bytes(4, "little") + body)
    os.replace(temporary, target)


def drop(targets: str) -> None:
    """Forget the snapshot: something is about to change."""
    try:
        os.unlink(_file(targets))
    except OSError:
        return


def state(path: str) -> State:
    """What a file must have kept to count as untouched. A change that keeps all four is not possible without root."""
    now = os.stat(path)
    return now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns


def _identity() -> tuple[object, ...]:
    return sys.version, sys.executable, os.getcwd(), tuple(os.environ.get(name) for name in VARIABLES)


def _file(targets: str) -> str:
    folder, name = os.path.split(targets)
    return os.path.join(folder, FOLDER, name)
