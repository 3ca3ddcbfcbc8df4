"""Fetching: the cache if it has everything, else the source; then compare with the lock, and keep.

Called by `pipeline.steps.weights`. A file that is not what the lock (or the server) promises never reaches the output
or the cache. Every file is read for hashing once: while it arrives, or else here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DownloadError
from pipeline.files import Digest, copy_hashed, digest_path
from pipeline.files.names import is_unicode, unsafe_path
from pipeline.files.sharing import reflink
from pipeline.matrix.source import WeightsSource
from pipeline.transport.http import redact_url

from . import hub, local, package, url
from .cache import DownloadCache, disk_errors
from .entry import Arrived, Entry, Progress, Request, differences

_SOURCES: Mapping[str, Callable[[Request], Arrived]] = {
    "package": package.fetch,
    "hf": hub.fetch,
    "url": url.fetch,
    "path": local.fetch,
}
_SHOWN = 4
"""How many differing files a message lists."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The weights of a model.

    Attributes:
        entry: what to lock them by.
        files: path in the result -> file on this machine, which must not be written to.
    """

    entry: Entry
    files: Mapping[str, Path]


def fetch(
    model: str,
    source: WeightsSource,
    *,
    locked: Entry | None,
    path: Path | None,
    out: Path,
    log: Path,
    progress: Progress,
) -> Fetched:
    """Have the weights of a model on this machine.

    `locked` is its entry in `slipway.lock`, None on first sight; `path` the user's file or directory, for a source of
    that kind; `out` an empty directory, for files that have to be copied.

    Raises:
        DownloadError: it cannot be had, or is not what the lock promises.
        StoreError: the disk is full or closed.
        ToolMissing: pip or huggingface_hub is not there.
    """
    pin = locked if source.kind != "path" else None
    cache = DownloadCache.default()
    with disk_errors(cache.root):
        if pin is not None and (held := cache.held(pin.digests)) is not None:
            return Fetched(pin, held)
        with cache.scratch() as scratch:
            request = Request(
                model=model, source=source, locked=pin, local=path, cache=cache, scratch=scratch, log=log,
                progress=progress,
            )  # fmt: skip
            arrived = _SOURCES[source.kind](request)
            where = redact_url(source.name) if source.kind == "url" else f"{source.kind} {source.name}"
            digests, files = _keep(arrived, request, out, where)
    return Fetched(Entry.of(source, arrived.resolved, digests), files)


def _keep(arrived: Arrived, request: Request, out: Path, where: str) -> tuple[dict[str, Digest], dict[str, Path]]:
    """Refuse what arrived if it is not what was promised, and bring it to where it stays."""
    digests, files = dict(arrived.digests), dict(arrived.files)
    for path, file in sorted(arrived.files.items()):
        problem = unsafe_path(path)
        if problem is None and arrived.keep != "copy" and not is_unicode(path):
            problem = "is not UTF-8, and slipway.lock could not say it"
        if problem:
            raise DownloadError(f"the file name {path!r} {problem}", where=where, hint="do not use this source")
        if arrived.keep == "copy":  # it may change under us, so what counts is the copy
            files[path] = out / path
            with disk_errors(out):
                digests[path] = _copied(file, out / path)
        elif path not in digests:
            digests[path] = digest_path(file)
    _compare(request, arrived, digests, where)
    if arrived.keep == "move":
        files = {path: request.cache.adopt(file, digests[path]) for path, file in files.items()}
    return digests, files


def _copied(source: Path, target: Path) -> Digest:
    target.parent.mkdir(parents=True, exist_ok=True)
    if reflink(str(source), str(target)):
        return digest_path(target)
    with source.open("rb") as old, target.open("xb") as new:
        return copy_hashed(old, new)


def _compare(request: Request, arrived: Arrived, got: Mapping[str, Digest], where: str) -> None:
    locked = request.locked.digests if request.locked else got
    if found := differences(locked, got):
        here = [str(arrived.files[p]) for p, d in locked.items() if p in got and got[p] != d]
        stays = here and arrived.keep != "move"
        copies = f". If only the copy on this machine is wrong, delete {' '.join(here)}" if stays else ""
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        shown = "\n    ".join([*found[:_SHOWN], *more])
        raise DownloadError(
            f"the weights of {request.model} are not what slipway.lock promises:\n    {shown}",
            where=where,
            hint="nothing was replaced. If the new content is wanted, delete the entry "
            f"{request.model!r} from slipway.lock and run doit again{copies}",
            log=request.log,
        )
    for path, promise in arrived.promised.items():
        have = got[path]
        if promise.size not in {None, have.size} or promise.sha256 not in {None, have.sha256}:
            raise DownloadError(
                f"{path} arrived damaged: the server says sha256 {promise.sha256 or 'unknown'} ({promise.size} bytes), "
                f"this is {have.sha256} ({have.size} bytes)",
                where=where,
                hint=f"delete {arrived.files[path]} and run doit again",
            )
