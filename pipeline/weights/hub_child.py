"""The part of the `hub` source that runs in a process of its own, beside `huggingface_hub`.

The library reads its settings (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HOME`, …) once, when it is imported: a
fresh process is how all of them hold, whatever was imported before. Run as `python -m … REQUEST ANSWER`, two JSON
files; it must import nothing of the project, so that its answers are all there is between the two.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WORKERS = 4

_NETWORK = frozenset({"ConnectError", "ConnectTimeout", "ConnectionError", "ProxyError", "TransportError", "Timeout",
                      "TimeoutException", "NetworkError", "RemoteProtocolError"})  # fmt: skip
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})
_KINDS = {
    "OfflineModeIsEnabled": "offline",
    "GatedRepoError": "gated",
    "RepositoryNotFoundError": "repository",
    "RevisionNotFoundError": "revision",
    "RemoteEntryNotFoundError": "file",
    "HFValidationError": "name",
}


def listing(repo: str, revision: str) -> dict[str, object]:
    """Ask the hub what a branch, tag or commit is: the commit, and every file with its size and digest."""
    from huggingface_hub import HfApi  # noqa: PLC0415 (a library that is not there must become an answer)

    info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    files = {
        sibling.rfilename: {"size": sibling.size, "sha256": sibling.lfs.sha256 if sibling.lfs else None}
        for sibling in info.siblings or ()
    }
    return {"commit": info.sha, "files": files}


def get(repo: str, commit: str, files: list[str], force: bool, watch: str) -> dict[str, object]:
    """Bring files of a commit into the hub's cache; return where each is."""
    from huggingface_hub import constants, hf_hub_download  # noqa: PLC0415

    folder = Path(constants.HF_HUB_CACHE) / ("models--" + repo.replace("/", "--"))
    Path(watch).write_text(str(folder / "blobs"), encoding="utf-8")

    def one(name: str) -> str:
        return str(hf_hub_download(repo, name, revision=commit, force_download=force))

    with ThreadPoolExecutor(WORKERS) as pool:
        return {"files": dict(zip(files, pool.map(one, files), strict=True))}


def explain(problem: BaseException) -> dict[str, str]:
    """What went wrong, as a kind the parent has words for."""
    chain: list[BaseException] = []
    link: BaseException | None = problem
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return {"error": _kind(chain), "text": f"{type(problem).__name__}: {problem}"}


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


def main(request: str, answer: str) -> None:
    """Do what the request file says and write the answer file."""
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # Otherwise the library asks the hub for things that are not part of the model, even when every file is cached.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        result: Mapping[str, object] = (listing if asked["do"] == "list" else get)(**asked["with"])
    except Exception as problem:  # noqa: BLE001 (every failure is an answer)
        result = explain(problem)
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
