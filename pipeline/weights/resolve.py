"""Filling `slipway.lock` without building anything: for a `lock` command, or before planning.

A run can also lock by itself (`pipeline.steps.weights` gives the entry as a fact). This does the same ahead of it; the
files stay in the download caches, so the run finds them there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from pipeline.action import Json
from pipeline.plan.lockfile import read_lock, write_lock_entry

from .cache import DownloadCache
from .fetch import fetch, kind_of

ModelProgress = Callable[[str, float, float | None], None]
"""Called with the model, the bytes done, and the bytes there are in all (None: not known)."""


def resolve_missing(
    sources: Mapping[str, Mapping[str, Json]],
    lock_path: Path,
    progress: ModelProgress,
    *,
    refresh: Collection[str] = (),
    cache: DownloadCache | None = None,
) -> dict[str, Json]:
    """Lock every source that has no entry, or one that was made before the source was edited.

    Args:
        sources: model -> its `weights:` (those of kind `path` are skipped: they are never locked).
        lock_path: the lock file; each entry is written as soon as it is known.
        progress: see `ModelProgress`.
        refresh: models to lock anew although they have an entry: how a branch is moved to its newest commit.
        cache: the download cache, if not the user's.

    Returns:
        model -> entry, for those that were locked now.

    Raises:
        MatrixError: the lock file is malformed.
        DownloadError, StoreError, ToolMissing: see `pipeline.weights.fetch`. Models before it are locked.
    """
    lock = read_lock(lock_path)
    cache = cache or DownloadCache.default()
    locked: dict[str, Json] = {}
    for model, source in sources.items():
        if kind_of(source) == "path" or (lock.entry_for(model, source) is not None and model not in refresh):
            continue

        def report(done: float, total: float | None, model: str = model) -> None:
            progress(model, done, total)

        with cache.scratch() as scratch:
            out = scratch / "out"
            out.mkdir()
            log = scratch / "log"
            entry = fetch(model, source, locked=None, path=None, out=out, log=log, progress=report, cache=cache)
        locked[model] = entry.to_json()
        write_lock_entry(lock_path, model, locked[model])
    return locked
