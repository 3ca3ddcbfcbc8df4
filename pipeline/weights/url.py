"""Weights behind a URL: `weights: {url: https://…}`.

Three forms: one file, kept as it is; an archive, which is extracted (`subdir` and `files` choose; `extract: false`
keeps it); and a URL that ends in `/`, below which each of `files` is a name to download.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from pipeline.errors import DownloadError
from pipeline.files import Digest
from pipeline.files.names import unsafe_path
from pipeline.transport.http import redact_url

from .choose import choose
from .download import Part, download
from .entry import Arrived, Request
from .safe_extract import extract, is_archive


def fetch(request: Request) -> Arrived:
    """Download, and extract where that is asked for.

    Raises:
        DownloadError: see `pipeline.weights.download` and `safe_extract`; also a URL of no use.
        StoreError: the disk is full or closed.
    """
    source, url = request.source, request.source.name
    where = redact_url(url)
    try:
        path = urlsplit(url).path
    except ValueError as error:  # a host that is none, which the matrix does not see
        hint = "correct `url` in targets.yaml, or use `path` for a file"
        raise DownloadError("is not an http or https URL", where=where, hint=hint) from error
    if path.endswith("/"):
        return _each(request, url, where)
    name = PurePosixPath(unquote(path)).name
    unpack = is_archive(name) and source.extract is not False
    if not unpack and (source.files or source.subdir):
        raise DownloadError(
            "`files` and `subdir` need an archive or a URL that ends in /",
            where=where,
            hint="remove them from targets.yaml, or correct `url`",
        )
    locked = request.locked.files if request.locked and not unpack else {}
    promised = source.sha256 or (locked[name].sha256 if name in locked else None)
    file, digest = _one(request, url, request.scratch / "file", promised)
    if not unpack:
        return Arrived("", {name: file}, keep="move", digests={name: digest})

    digests = extract(file, request.scratch / "members", lambda names: choose(names, source, where), where=where)
    files = {path: request.scratch / "members" / path for path in digests}
    return Arrived("", files, keep="move", digests=digests)


def _each(request: Request, base: str, where: str) -> Arrived:
    names = request.source.files or ()
    if not names or request.source.sha256:
        raise DownloadError(
            "a URL that ends in / needs `files`, and no `sha256`",
            where=where,
            hint="list the names to download below it in `files` in targets.yaml (slipway.lock holds their digests)",
        )
    got: dict[str, Path] = {}
    digests: dict[str, Digest] = {}
    address, question, query = base.partition("?")
    locked = request.locked.digests if request.locked else {}
    total, done = sum(digest.size for digest in locked.values()) or None, 0
    for number, name in enumerate(dict.fromkeys(names)):
        problem = unsafe_path(name) or ("is a pattern, not a name" if set(name) & set("*?[") else None)
        if problem:
            raise DownloadError(f"the name {name!r} {problem}", where=where, hint="correct `files` in targets.yaml")

        def report(now: float, _: float | None, before: int = done) -> None:
            request.progress(before + now, total)

        here, file = replace(request, progress=report), request.scratch / str(number)
        sha256 = locked[name].sha256 if name in locked else None
        got[name], digests[name] = _one(here, f"{address}{quote(name)}{question}{query}", file, sha256)
        done += digests[name].size
    return Arrived("", got, keep="move", digests=digests)


def _one(request: Request, url: str, file: Path, sha256: str | None) -> tuple[Path, Digest]:
    """Download one URL, alone among processes; not at all when the cache has the promised content."""
    if sha256 and request.cache.intact(sha256):
        blob = request.cache.blob(sha256)
        return blob, Digest(sha256, blob.stat().st_size)
    shown = redact_url(url)
    with request.cache.alone(f"url {shown}"):
        part = Part.of_url(request.cache.partial(shown))
        digest = download(url, file, part=part, sha256=sha256, progress=request.progress)
    return file, digest
