"""Fetching: the cache if it has everything, else the source; then hash, compare with the lock, put in place.

Called by `pipeline.steps.weights` and `pipeline.weights.resolve`. A file that is not what the lock (or the server)
promises never reaches the output or the cache. What each source does is its own module's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.action import Json
from pipeline.errors import DownloadError

from . import hub, local, package, url
from .cache import DownloadCache
from .entry import Entry, differences, identity
from .files import FileDigest, digest_file, disk_errors, place, unsafe_path
from .redact import redact_url
from .request import Arrived, Progress, Request

_SOURCES: dict[str, tuple[str, Callable[[Request], Arrived]]] = {
    "package": ("package", package.fetch),
    "hf": ("hf", hub.fetch),
    "url": ("url", url.fetch),
    "path": ("path", local.fetch),
}
_SHOWN = 4
"""How many differing files a message lists."""


def kind_of(source: Mapping[str, Json]) -> str:
    """Which of `package`, `hf`, `url`, `path` a source is: its `kind`, or the one of these settings that it has."""
    named = source.get("kind")
    kinds = [str(named)] if named else [kind for kind in _SOURCES if kind in source]
    if len(kinds) != 1 or kinds[0] not in _SOURCES:
        raise DownloadError(
            f"weights come from exactly one of {', '.join(_SOURCES)}, not {', '.join(kinds) or 'nothing'}",
            hint="correct `weights` in targets.yaml",
        )
    return kinds[0]


def fetch(
    model: str,
    source: Mapping[str, Json],
    *,
    locked: Json | None,
    path: Path | None,
    out: Path,
    log: Path,
    progress: Progress,
    cache: DownloadCache | None = None,
) -> Entry:
    """Put the weights of a model into a directory.

    Args:
        model: name in targets.yaml.
        source: its `weights:`.
        locked: its entry in `slipway.lock`; None on first sight.
        path: the user's file or directory, for a source of kind `path`.
        out: an empty directory.
        log: file for what tools print.
        progress: told the bytes.
        cache: the download cache, if not the user's.

    Returns:
        What is now in `out`: the entry to lock it by.

    Raises:
        DownloadError: it cannot be had, or is not what the lock promises.
        StoreError: the disk is full or closed.
        ToolMissing: pip or huggingface_hub is not there.
    """
    kind = kind_of(source)
    pin = Entry.from_json(locked) if locked is not None and kind != "path" else None
    cache = cache or DownloadCache.default()
    with disk_errors(cache.root):
        if pin is not None and cache.restore(pin.files, out):
            return pin
        with cache.scratch() as scratch:
            request = Request(
                model=model, source=source, locked=pin, local=path, cache=cache, scratch=scratch, log=log,
                progress=progress,
            )  # fmt: skip
            arrived = _SOURCES[kind][1](request)
            files = _deliver(arrived, request, out, _where(kind, source))
    return Entry(source=identity(source), resolved=arrived.resolved, files=files)


def _deliver(arrived: Arrived, request: Request, out: Path, where: str) -> dict[str, FileDigest]:
    """Hash what arrived, refuse it if it is not what was promised, and put it in place."""
    digests: dict[str, FileDigest] = {}
    for path, file in sorted(arrived.files.items()):
        problem = unsafe_path(path)
        if problem:
            raise DownloadError(f"the file name {path!r} {problem}", where=where, hint="do not use this source")
        if arrived.ours:
            digests[path] = digest_file(file)
        else:  # it may change under us, so what counts is the copy
            with disk_errors(out):
                place(file, out / path, share=False)
            digests[path] = digest_file(out / path)
    _compare(request, arrived, digests, where)
    _compare_promised(arrived, digests, where)
    if arrived.ours:
        for path, digest in digests.items():
            blob = request.cache.adopt(arrived.files[path], digest)
            with disk_errors(out):
                place(blob, out / path, share=True)
    return digests


def _compare(request: Request, arrived: Arrived, got: Mapping[str, FileDigest], where: str) -> None:
    if request.locked is None:
        return
    found = differences(request.locked.files, got)
    if found:
        here = [str(arrived.files[p]) for p, d in request.locked.files.items() if p in got and got[p] != d]
        copies = (
            f". If only the copy on this machine is wrong, delete {' '.join(here)}" if here and not arrived.ours else ""
        )
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise DownloadError(
            f"the weights of {request.model} are not what slipway.lock promises:\n    "
            + "\n    ".join([*found[:_SHOWN], *more]),
            where=where,
            hint="nothing was replaced. If the new content is wanted, delete the entry "
            f"{request.model!r} from slipway.lock and run doit again{copies}",
            log=request.log,
        )


def _compare_promised(arrived: Arrived, got: Mapping[str, FileDigest], where: str) -> None:
    for path, promise in arrived.promised.items():
        have = got[path]
        if have.size != promise.size or (promise.sha256 or have.sha256) != have.sha256:
            raise DownloadError(
                f"{path} arrived damaged: the server says sha256 {promise.sha256 or 'unknown'} ({promise.size} bytes), "
                f"this is {have.sha256} ({have.size} bytes)",
                where=where,
                hint=f"delete {arrived.files[path]} and run doit again",
            )


def _where(kind: str, source: Mapping[str, Json]) -> str:
    name = str(source[kind])
    return redact_url(name) if kind == "url" else f"{kind} {name}"
