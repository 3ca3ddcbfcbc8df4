"""What steps see of upstream actions: directories of links to the blobs that their keys name.

The engine lays one out for each upstream edge. Steps do not read the tree, where anyone may write: a file there that
is overwritten and put back while a step runs would leave the wrong result under the right key.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.action import SCRATCH, AnyAction, Upstream
from pipeline.errors import StepError
from pipeline.files import Digest, Written, look, read_file, sha256_bytes, write_new, written
from pipeline.files.sharing import share, show, symlink
from pipeline.store.action_result import INLINED_BYTES, LINK, PROGRAM, ActionResult, Output, digests_of
from pipeline.store.outputs import is_intact
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.workspace import Entry, Workspace

from .keys import read_by

VIEWS = f"{SCRATCH}/views"

AGAIN = "run doit again: it builds what is missing"


@dataclass(frozen=True)
class View:
    """A directory for one edge.

    Attributes:
        states: file behind it -> what changes when that is written.
        outputs: relative path -> output, of all that is in it.
    """

    folder: Path
    states: Mapping[str, Written]
    outputs: Mapping[str, Output]

    def is_still(self) -> bool:
        """Whether everything in it is as it was when it was laid out."""
        return all(written(look(path)) == state for path, state in self.states.items())


class Views:
    """The views of one run. Methods may be called from any thread."""

    def __init__(self, root: Path, workspace: Workspace, store: Store, stat_cache: StatCache) -> None:
        self._root = root
        self._workspace = workspace
        self._store = store
        self._stat_cache = stat_cache
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._records: dict[str, ActionResult] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[str, View]] = {}

    def of(self, action: AnyAction) -> dict[str, View]:
        """Role -> view, for every upstream edge of an action.

        Raises:
            StepError: an output is neither in the store nor, unchanged, in the tree.
        """
        return {role: self._view(edge) for role, edge in action.upstream.items()}

    def fetch(self, edge: Upstream, entry: Entry, record: ActionResult | None) -> bool:
        """Have in the store here what an edge reads of outputs that are not in the tree; whether that could be done.

        `record` is what the remote store has of them.

        Raises:
            StoreError: a blob cannot be written.
        """
        if record is None:
            return False
        self._records[entry.key] = record
        read = {path: entry.outputs[path] for path in read_by(edge, digests_of(entry.outputs))}
        return self._store.fetch(replace(record, outputs=read))

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
        name = edge.action.replace(":", ".").replace("/", ".")
        folder = f"{self._root}/{VIEWS}/{next(self._numbers)}.{name}"
        os.makedirs(folder)
        states: dict[str, Written] = {}
        outputs = {path: entry.outputs[path] for path in read_by(edge, digests_of(entry.outputs))}
        for path, output in outputs.items():
            tree, place = f"{self._root}/{entry.out}/{path}", f"{folder}/{path}"
            if "/" in path:
                os.makedirs(os.path.dirname(place), exist_ok=True)
            data = self._small(tree, output, entry.key) if output.size <= INLINED_BYTES else None
            if data is None:
                states |= self._show(edge.action, tree, output, place)
            elif output.mode == LINK:
                symlink(os.fsdecode(data), place)
            else:
                states[place] = write_new(place, data, output.mode)
        return View(Path(folder), states, outputs)

    def _small(self, tree: str, output: Output, key: str) -> bytes | None:
        """The content of an output that its result may carry: from the tree if it is right there, which is cheaper."""
        with contextlib.suppress(OSError):
            data = os.fsencode(os.readlink(tree)) if output.mode == LINK else read_file(tree, INLINED_BYTES)
            if sha256_bytes(data) == output.sha256:
                return data
        record = self._records.get(key) or self._store.record(key)
        return None if record is None else record.small.get(output.sha256)

    def _show(self, action: str, tree: str, output: Output, place: str) -> dict[str, Written]:
        """Lay out an output that no result carries, and return how the files behind it were written.

        Where the store has lost it, it is taken from the tree, if it is unchanged there.
        """
        blobs = self._store.blobs
        left = blobs.checked(output.sha256, output.size)
        if left is None:
            damaged = not is_intact(tree, output, self._stat_cache, blobs)
            if not damaged and output.mode == LINK:
                symlink(os.readlink(tree), place)
                return {}
            if not damaged:
                self._store.hold()
                blobs.link(tree, Digest(output.sha256, output.size))
                left = blobs.checked(output.sha256, output.size)
        if left is None:
            raise StepError(f"an output of {action} was changed, and the store has lost it", where=tree, hint=AGAIN)
        blob = os.path.abspath(blobs.path(output.sha256))
        if output.mode == PROGRAM:  # a blob cannot be run
            return {place: share(blob, place, PROGRAM, link=False), blob: left}
        show(blob, place)
        shown = written(look(place))
        return {place: left} if shown == left else {place: shown, blob: left}
