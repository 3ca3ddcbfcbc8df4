"""Weights in a repository of the Hugging Face hub: `weights: {hf: org/name, revision: …}`.

The library does the work, in a child process (`hub_child`), but for the bytes of large files. They go into its own
cache, where other programs find them too. A branch or tag is resolved to its commit once, for the lock; from then on
only that commit is asked for, and files that are in the hub's cache need no network at all.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pipeline.documents import codec
from pipeline.errors import DownloadError, FormatError, SlipwayError, StoreError, ToolMissing
from pipeline.files.names import unsafe_path
from pipeline.process import run
from pipeline.transport.http import redact

from . import hub_child
from .choose import choose
from .entry import Arrived, Progress, Promise, Request
from .hub_child import Failure, Here, Listing, Wanted

_LOOK_EVERY = 0.3
"""Seconds between two looks at how much the child has downloaded."""


T = TypeVar("T")


def fetch(request: Request) -> Arrived:
    """Resolve (unless locked) and download.

    Raises:
        DownloadError: no such repository, revision or file; no access; no network; offline and not in the cache.
        StoreError: the hub's cache cannot be written.
        ToolMissing: huggingface_hub is not installed.
    """
    repo, revision = request.source.name, str(request.source.revision)
    where, told = f"hf {repo}@{revision}", request.scratch / "progress"
    if request.locked:
        commit, subdir = request.locked.resolved, (request.source.subdir or "").strip("/")
        names = {f"{subdir}/{path}" if subdir else path: path for path in request.locked.files}
        promised = {path: Promise(file.size, file.sha256) for path, file in request.locked.files.items()}
    else:
        found = _ask(Listing, request, Wanted(repo, revision, {}, told), where)
        names = choose(found.files, request.source, where)
        commit, promised = found.commit, {path: found.files[name] for name, path in names.items()}
    for name in names:
        if problem := unsafe_path(name):  # it becomes a path in the hub's cache
            raise DownloadError(f"the file name {name!r} {problem}", where=where, hint="do not use this source")
    with _reported(told, sum(promise.size or 0 for promise in promised.values()), request.progress):
        wanted = Wanted(repo, commit, {name: promised[path] for name, path in names.items()}, told)
        files = _ask(dict[str, Here], request, wanted, where)
    return Arrived(
        resolved=commit,
        files={path: files[name].path for name, path in names.items()},
        keep="link",
        digests={path: digest for name, path in names.items() if (digest := files[name].digest)},
        promised=promised,
    )


def _ask(kind: type[T], request: Request, wanted: Wanted, where: str) -> T:
    """Have the child do one thing; its answer, or its failure in our words."""
    question, answer = request.scratch / "request.json", request.scratch / "answer.json"
    answer.unlink(missing_ok=True)
    question.write_text(json.dumps(codec.encode(wanted)), encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run(
        [sys.executable, "-m", hub_child.__name__, question, answer],
        cwd=request.scratch,
        env={"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        check=False,
        inherit=True,
    )
    with request.log.open("a", encoding="utf-8") as log:
        log.write(f"$ huggingface_hub: {'get' if wanted.files else 'list'} {where}\n{redact(done.output)}")
    try:
        if done.status:
            failure = codec.load(Failure, answer)
            raise _failure(failure.kind, redact(failure.text), where, request.log)
        return codec.load(kind, answer)
    except (OSError, FormatError) as error:
        raise DownloadError(
            f"the download process ended with status {done.status} and no answer", where=where, log=request.log
        ) from error


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
        "storage": (
            f"a file of the hub's did not arrive: {text}",
            "check the network, HTTPS_PROXY and HF_ENDPOINT, and run doit again: what is not wrong of it is kept",
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
def _reported(told: Path, total: int, progress: Progress) -> Iterator[None]:
    """Pass on what the child writes into the file `told`, until the block ends."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY):
            with suppress(OSError, ValueError):  # not there yet, or half written
                progress(min(int(told.read_text(encoding="ascii")), total), total)

    thread = threading.Thread(target=look, name="hub-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
