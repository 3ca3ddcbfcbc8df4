"""What steps see of upstream actions: directories of links to the blobs that their keys name.

The engine lays one out for each upstream edge. Steps do not read the tree, where anyone may write: a file there that
is overwritten and put back while a step runs would leave the wrong result under the right key.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.action import SCRATCH, AnyAction, Upstream
from pipeline.errors import StepError
from pipeline.files import Digest, look, write_new
from pipeline.files.sharing import share
from pipeline.store.action_result import LINK, PROGRAM, Output, digests_of
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.workspace import Entry, Workspace

from .keys import read_by

VIEWS = f"{SCRATCH}/views"

AGAIN = "run doit again: it builds what is missing"

Written = tuple[int, ...]
"""Size, mtime and inode of a file. A further link to a blob changes the ctime, and nothing else."""


@dataclass(frozen=True)
class View:
    """A directory for one edge.

    Attributes:
        folder: it.
        states: file behind it -> what changes when that is written.
        outputs: relative path -> output, of all that is in it.
    """

    folder: Path
    states: Mapping[str, Written]
    outputs: Mapping[str, Output]

    def is_still(self) -> bool:
        """Whether everything in it is as it was when it was laid out."""
        return all(look(path)[:3] == state for path, state in self.states.items())


class Views:
    """The views of one run. Methods may be called from any thread.

    Args:
        root: the tree, absolute.
        workspace: which outputs upstream actions have.
        store: where their content is.
        stat_cache: digests of the tree's files.
    """

    def __init__(self, root: Path, workspace: Workspace, store: Store, stat_cache: StatCache) -> None:
        self._root = root
        self._workspace = workspace
        self._store = store
        self._stat_cache = stat_cache
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._known: dict[tuple[str, tuple[str, ...]], tuple[str, View]] = {}

    def of(self, action: AnyAction) -> dict[str, View]:
        """Role -> view, for every upstream edge of an action.

        Raises:
            StepError: an output is neither in the store nor, unchanged, in the tree.
        """
        return {role: self._view(edge) for role, edge in action.upstream.items()}

    def _view(self, edge: Upstream) -> View:
        entry = self._workspace.get(edge.action)
        if entry is None:
            raise StepError(f"{edge.action} has not been built", hint=f"run: doit {edge.action}")
        with self._lock:
            key, view = self._known.get((edge.action, edge.only), ("", None))
            if view is None or key != entry.key or not view.is_still():
                view = self._lay_out(edge, entry)
                self._known[edge.action, edge.only] = entry.key, view
            return view

    def _lay_out(self, edge: Upstream, entry: Entry) -> View:
        folder = self._root / VIEWS / edge.action.replace(":", ".").replace("/", ".") / str(next(self._numbers))
        folder.mkdir(parents=True)
        record = self._store.record(entry.key)
        small = record.small if record is not None else {}
        states: dict[str, Written] = {}
        read = read_by(edge, digests_of(entry.outputs))
        outputs = {path: entry.outputs[path] for path in read}
        for path, output in outputs.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            found = small.get(output.sha256) or self._find(edge.action, f"{self._root}/{entry.out}/{path}", output)
            if output.mode == LINK:
                place.symlink_to(os.fsdecode(found))
                continue
            if isinstance(found, bytes):
                write_new(str(place), found, output.mode)
            elif output.mode == PROGRAM:  # a blob cannot be run
                share(found, str(place), PROGRAM, link=False)
            else:
                place.symlink_to(os.path.abspath(found))  # noqa: PTH100 - the store may be relative
            states[str(place)] = look(place)[:3]
        return View(folder, states, outputs)

    def _find(self, action: str, tree: str, output: Output) -> bytes | str:
        """An output that its record does not carry: where its blob is, or what a symlink says.

        Where the store has lost it, it is taken from the tree, if it is unchanged there.
        """
        if self._store.blobs.check(output.sha256, output.size):
            return self._store.blobs.path(output.sha256)
        if self._store.is_damaged(tree, output, self._stat_cache):
            raise StepError(f"an output of {action} was changed, and the store has lost it", where=tree, hint=AGAIN)
        if output.mode == LINK:
            return os.fsencode(os.readlink(tree))  # noqa: PTH115 - as bytes of any encoding
        self._store.hold()
        self._store.blobs.link(tree, Digest(output.sha256, output.size))
        return self._store.blobs.path(output.sha256)
