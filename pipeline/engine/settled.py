# ruff: noqa: PTH116 - for every output there is, and pathlib costs more than the look
"""The states of all outputs in the tree, for the snapshot by which the next run sees that nothing has changed.

`session` asks when a run is complete, and `last_plan` when a partial one is. What a snapshot is, is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pipeline.store.action_cache import LINK, SMALL, Output
from pipeline.store.stat_cache import State

from .engine import Engine


def settled(engine: Engine, names: Iterable[str] | None = None) -> Iterator[tuple[str, str, State | None]]:
    """(path, action, state) for every file that actions have put into the tree; a state is None where it is in doubt.

    What this very run has put there is not looked at again: the state it had then is the one that its content is known
    for, and the next run will see whether it still has it. (Only of small files, which never are links to a blob: a
    further link changes the ctime of all of them.)
    """
    made, placed = engine.made, engine.stat_cache.placed
    for name in engine.actions if names is None else names:
        base = engine.folder_of(name)
        states = [(f"{base}/{path}", placed(f"{base}/{path}", sha)) for path, sha in made.get(name, {}).items()]
        if states and all(state is not None and state[0] <= SMALL for _, state in states):
            yield from ((path, name, state) for path, state in states)
        else:
            for path, _, output in engine.outputs([name]):
                yield path, name, _state(engine, name, path, output)


def _state(engine: Engine, name: str, path: str, output: Output) -> State | None:
    """The state of an output, if its content is known to be what the record says."""
    try:
        now = os.stat(path)
        if output.mode != LINK and engine.stat_cache.peek(path, now) != output.sha256:
            # A file that has got one more hard link since it was placed is another one in the eyes of the stat_cache.
            engine.look_again(name)
            now = os.stat(path)
            if engine.stat_cache.peek(path, now) != output.sha256:
                return None
    except OSError:
        return None
    return now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns
