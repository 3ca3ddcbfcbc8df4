"""The part of the `hub` source that runs in a process of its own, beside `huggingface_hub`.

The library reads its settings (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HOME`, …) once, when it is imported: a
fresh process is how all of them hold, whatever was imported before. Run as `python -m … REQUEST ANSWER`, two JSON
files.

What the hub keeps in large storage is downloaded here, by plain HTTP, and put where the library looks for it: neither
the library's own download nor `hf_xet` goes on where it was killed (see quirks NET-6 and NET-7).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents import codec
from pipeline.errors import SlipwayError
from pipeline.files import Digest
from pipeline.files.locks import locked
from pipeline.process import set_parent_death_signal
from pipeline.transport.http import Patience

from .download import Part, download
from .entry import Promise

WORKERS = 4
_TRIES = 3
_TELL_EVERY = 0.2
"""Seconds between two words of progress."""

_NETWORK = frozenset({"ConnectError", "ConnectTimeout", "ConnectionError", "ProxyError", "TransportError", "Timeout",
                      "TimeoutException", "NetworkError", "RemoteProtocolError"})  # fmt: skip
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})
_KINDS = {
    "StoreError": "disk",
    "DownloadError": "storage",
    "OfflineModeIsEnabled": "offline",
    "GatedRepoError": "gated",
    "RepositoryNotFoundError": "repository",
    "RevisionNotFoundError": "revision",
    "RemoteEntryNotFoundError": "file",
    "HFValidationError": "name",
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer about a revision: its commit, and the files by name."""

    commit: str
    files: Mapping[str, Promise]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request.

    Attributes:
        revision: the commit; a branch or tag, too, where no files are named.
        files: name -> what it is known to be; without any, it is asked what the revision is.
        progress: a file that is told how many bytes there are.
    """

    repo: str
    revision: str
    files: Mapping[str, Promise]
    progress: Path


@dataclass(frozen=True, slots=True)
class Here:
    """Where a file is; and its digest, if it was hashed while it arrived."""

    path: Path
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer when it went wrong (the status is 1 then): a kind that the parent has words for, and what was said."""

    kind: str
    text: str


class _Progress:
    """How many bytes of which file are there; written down for the parent now and then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._done: dict[str, float] = {}
        self._told = 0.0
        self._lock = threading.Lock()

    def __call__(self, name: str, done: float) -> None:
        with self._lock:
            self._done[name] = done
            now = time.monotonic()
            if now - self._told > _TELL_EVERY:
                self._told = now
                self._file.write_text(f"{sum(self._done.values()):.0f}", encoding="ascii")


def listing(repo: str, revision: str) -> Listing:
    """Ask the hub what a branch, tag or commit is: the commit, and every file with its size and digest."""
    from huggingface_hub import HfApi  # noqa: PLC0415 (a library that is not there must become an answer)

    info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    files = {one.rfilename: Promise(one.size, one.lfs.sha256 if one.lfs else None) for one in info.siblings or ()}
    return Listing(info.sha or "", files)


def get(wanted: Wanted) -> dict[str, Here]:
    """Bring files of a commit into the hub's cache, and say where each is."""
    progress = _Progress(wanted.progress)
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda name: _here(wanted, name, progress), wanted.files)
        return dict(zip(wanted.files, found, strict=True))


def _here(wanted: Wanted, name: str, progress: _Progress) -> Here:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache  # noqa: PLC0415

    def fits(path: str) -> bool:
        """Whether it has the right size: the cache is the library's, and other programs write to it."""
        size = Path(path).stat().st_size
        progress(name, size)
        return wanted.files[name].size in {None, size}

    path, digest = try_to_load_from_cache(wanted.repo, name, revision=wanted.revision), None
    if not isinstance(path, str) or not fits(path):
        digest = _large(wanted, name, progress)
        if digest is not None and isinstance(path, str):
            Path(path).unlink()  # where there are no symbolic links it is a copy of the bad one
        path = hf_hub_download(wanted.repo, name, revision=wanted.revision)
        if not fits(path):
            path = hf_hub_download(wanted.repo, name, revision=wanted.revision, force_download=True)
    return Here(Path(path).resolve(), digest)


def _large(wanted: Wanted, name: str, progress: _Progress) -> Digest | None:
    """Download a file of large storage into the hub's cache; None where it is none of those, or is there already."""
    from huggingface_hub import constants, hf_hub_url  # noqa: PLC0415
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415 (documented)

    url = hf_hub_url(wanted.repo, name, revision=wanted.revision)
    sha256 = _etag(url)
    if sha256 is None or sha256 != wanted.files[name].sha256:  # git's own digest, of a small file
        return None
    cache, folder = Path(constants.HF_HUB_CACHE), "models--" + wanted.repo.replace("/", "--")
    blob, lock = cache / folder / "blobs" / sha256, cache / ".locks" / folder / f"{sha256}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock):  # the lock that the library takes, too
        if blob.exists() and blob.stat().st_size == wanted.files[name].size:
            return None
        return download(
            url,
            blob,
            part=Part(blob.with_name(f"{sha256}.incomplete"), None),
            sha256=sha256,
            progress=lambda done, _: progress(name, done),
            headers=build_hf_headers(),
        )


def _etag(url: str) -> str | None:
    """What the hub calls the content of a file: the SHA-256 of what is in large storage."""
    from huggingface_hub import get_hf_file_metadata  # noqa: PLC0415

    for number in range(1, _TRIES + 1):
        try:
            return get_hf_file_metadata(url).etag
        except Exception as problem:
            if number == _TRIES or explain(problem).kind not in {"busy", "network"}:
                raise
            time.sleep(Patience().pause(number))
    return None


def explain(problem: BaseException) -> Failure:
    """What went wrong, as a kind the parent has words for."""
    chain: list[BaseException] = []
    link: BaseException | None = problem
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = problem.what if isinstance(problem, SlipwayError) else f"{type(problem).__name__}: {problem}"
    return Failure(_kind(chain), text)


def _kind(chain: list[BaseException]) -> str:
    """The most telling thing anywhere in the chain counts: a lost connection is often wrapped in "not in the cache".

    Classes are known by name, because the library moves them, and the HTTP client beneath it is another every year.
    """
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    statuses = {getattr(getattr(link, "response", None), "status_code", None) for link in chain}
    numbers = {link.errno for link in chain if isinstance(link, OSError)}
    signs = [
        *((name in names, kind) for name, kind in _KINDS.items()),
        (bool(statuses & {401, 403}), "gated"),
        (any(isinstance(status, int) and (status == 429 or status >= 500) for status in statuses), "busy"),  # noqa: PLR2004 (HTTP's numbers)
        (bool(numbers & _DISK), "disk"),
        ("ModuleNotFoundError" in names, "module"),
        (bool(names & _NETWORK), "network"),
    ]
    return next((kind for sign, kind in signs if sign), "other")


def main(request: Path, answer: Path) -> int:
    """Do what the request file says and write the answer file; the status of the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # threads that download are not waited for: what has come is kept
    set_parent_death_signal(os.getppid())
    settings = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Small files of Xet's come by plain HTTP, too, whatever is installed and set.
        "HF_HUB_DISABLE_XET": "1",
        # Otherwise the library asks the hub for things that are not part of the model, even when every file is cached.
        "HF_HUB_DISABLE_TELEMETRY": os.environ.get("HF_HUB_DISABLE_TELEMETRY", "1"),
    }
    os.environ.update(settings)
    result: Listing | Failure | dict[str, Here]
    try:
        wanted = codec.load(Wanted, request)
        result = get(wanted) if wanted.files else listing(wanted.repo, wanted.revision)
    except Exception as problem:  # noqa: BLE001 (every failure is an answer)
        result = explain(problem)
    answer.write_text(json.dumps(codec.encode(result)), encoding="utf-8")
    return int(isinstance(result, Failure))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
