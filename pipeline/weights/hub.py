"""Weights in a repository of the Hugging Face hub: `weights: {hf: org/name, revision: …}`.

The library does the work, in a child process (`hub_child`), into its own cache, where other programs find the files
too. A branch or tag is resolved to its commit once, for the lock; from then on only that commit is asked for, and files
that are in the hub's cache need no network at all.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.documents.codec import decode
from pipeline.errors import DownloadError, SlipwayError, StoreError, ToolMissing
from pipeline.process import run
from pipeline.transport.http import redact

from . import hub_child
from .choose import choose
from .entry import Entry
from .request import Arrived, Progress, Promise, Request

_LOOK_EVERY = 0.3
"""Seconds between two looks at how much the child has downloaded."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the hub says of a file; None where it does not know."""

    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Listing:
    """The child's answer about a revision: its commit, and the files by name."""

    commit: str
    files: Mapping[str, _Listed]


@dataclass(frozen=True, slots=True)
class _Got:
    """The child's answer about a download: name -> where the file is."""

    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to ask the hub for.

    Attributes:
        commit: of the repository.
        names: name in the repository -> path in the result.
        promised: by path in the result; what the lock promises is not repeated here but for the size.
    """

    commit: str
    names: Mapping[str, str]
    promised: Mapping[str, Promise]


def fetch(request: Request) -> Arrived:
    """Resolve (unless locked) and download.

    Raises:
        DownloadError: no such repository, revision or file; no access; no network; offline and not in the cache.
        StoreError: the hub's cache cannot be written.
        ToolMissing: huggingface_hub is not installed.
    """
    repo, revision = request.source.name, request.source.revision or "main"
    where = f"hf {repo}@{revision}"
    wanted = _pinned(request, request.locked) if request.locked else _listed(request, repo, revision, where)
    files = _get(request, repo, wanted, sorted(wanted.names), force=False, where=where)
    # The cache is the library's, and other programs write to it: a file of the wrong size is fetched once more.
    wrong = [
        name
        for name, path in wanted.names.items()
        if path in wanted.promised and files[name].stat().st_size != wanted.promised[path].size
    ]
    if wrong:
        files |= _get(request, repo, wanted, wrong, force=True, where=where)
    arrived = {path: files[name] for name, path in wanted.names.items()}
    return Arrived(resolved=wanted.commit, files=arrived, keep="link", promised=wanted.promised)


def _pinned(request: Request, locked: Entry) -> _Wanted:
    subdir = (request.source.subdir or "").strip("/")
    return _Wanted(
        commit=locked.resolved,
        names={f"{subdir}/{path}" if subdir else path: path for path in locked.files},
        promised={path: Promise(digest.size) for path, digest in locked.files.items()},
    )


def _listed(request: Request, repo: str, revision: str, where: str) -> _Wanted:
    found = _ask(_Listing, request, "list", {"repo": repo, "revision": revision}, where)
    names = choose(found.files, subdir=request.source.subdir, patterns=request.source.files or (), where=where)
    listed = {path: found.files[name] for name, path in names.items()}
    promised = {path: Promise(one.size, one.sha256) for path, one in listed.items() if one.size is not None}
    return _Wanted(commit=found.commit, names=names, promised=promised)


def _get(
    request: Request, repo: str, wanted: _Wanted, names: Sequence[str], *, force: bool, where: str
) -> dict[str, Path]:
    watch = request.scratch / "watch"
    total = sum(promise.size for promise in wanted.promised.values())
    arguments = {"repo": repo, "commit": wanted.commit, "files": names, "force": force, "watch": str(watch)}
    with _growth(watch, total, request.progress):
        got = _ask(_Got, request, "get", arguments, where)
    return {name: Path(path).resolve() for name, path in got.files.items()}


def _ask(kind: type[T], request: Request, what: str, arguments: Mapping[str, object], where: str) -> T:
    """Have the child do one thing; its answer, or its failure in our words."""
    asked, answer = request.scratch / "request.json", request.scratch / "answer.json"
    answer.unlink(missing_ok=True)
    asked.write_text(json.dumps({"do": what, "with": arguments}), encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run(
        [sys.executable, "-m", hub_child.__name__, asked, answer],
        cwd=request.scratch,
        env={"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        check=False,
    )
    with request.log.open("a", encoding="utf-8") as log:
        log.write(f"$ huggingface_hub: {what} {where}\n{redact(done.output)}")
    try:
        result = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"the download process ended with status {done.status} and no answer", where=where, log=request.log
        ) from error
    if "error" in result:
        raise _failure(result["error"], redact(result["text"]), where, request.log)
    value: T = decode(kind, result, where)
    return value


def _failure(kind: str, text: str, where: str, log: Path) -> SlipwayError:
    if kind == "disk":
        return StoreError(
            f"the hub's cache cannot be written: {text}",
            where=where,
            hint="free some space and make it writable, or set HF_HUB_CACHE to a directory that is",
        )
    if kind == "module":
        return ToolMissing(f"huggingface_hub cannot be imported: {text}", hint="pip install huggingface_hub", log=log)
    token = (
        "set HF_TOKEN to a token that may read it"
        if not os.environ.get("HF_TOKEN")
        else "HF_TOKEN is set, but may not read it: check the token"
    )
    what, hint = {
        "gated": (
            "the hub does not let you read this repository",
            f"accept its terms on the hub's page of the model, and {token}",
        ),
        "repository": ("the hub has no such repository, or it is private", f"check `hf` in targets.yaml, or {token}"),
        "revision": ("the repository has no such revision", "check `revision` in targets.yaml"),
        "file": ("the repository lacks a file", "check `files` in targets.yaml"),
        "name": (f"this is no name of a repository: {text}", "correct `hf` in targets.yaml: org/name"),
        "offline": (
            "HF_HUB_OFFLINE is set, and not all of it is in the hub's cache",
            "run doit once with HF_HUB_OFFLINE=0 (a first run always needs the hub, to fill slipway.lock)",
        ),
        "busy": (
            f"the hub answers with an error of its own: {text}",
            "wait a little and run doit again; what has arrived is kept",
        ),
        "network": (
            f"the hub could not be reached: {text}",
            "check the network, HTTPS_PROXY and HF_ENDPOINT; what has arrived is kept, run doit again",
        ),
    }.get(kind, (f"the hub's library failed: {text}", "check the log, and `hf` in targets.yaml"))
    return DownloadError(what, where=where, hint=hint, log=log)


@contextmanager
def _growth(watch: Path, total: int, progress: Progress) -> Iterator[None]:
    """Report the growth of the directory that the child names in the file `watch`, until the block ends."""
    over = threading.Event()

    def look() -> None:
        start: int | None = None
        while not over.wait(_LOOK_EVERY):
            size = _size(watch)
            if size is not None:
                start = size if start is None else start
                progress(min(max(size - start, 0), total), total)

    thread = threading.Thread(target=look, name="hub-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _size(watch: Path) -> int | None:
    try:
        folder = watch.read_text(encoding="utf-8")
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except OSError:  # not there yet, or a file that was just renamed
        return None
