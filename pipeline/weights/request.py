"""The two values between `fetch` and a source: what is asked for, and what arrived.

Every source module has one function, `fetch(request) -> Arrived`. A source gets files onto this machine, hashing
them on the way where it can; comparing with the lock and caching are the same for all and live in `fetch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.files import Digest
from pipeline.matrix.source import WeightsSource

from .cache import DownloadCache
from .entry import Entry

Progress = Callable[[float, float | None], None]
"""Called with the bytes done so far and the bytes there are in all (None: not known)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a source.

    Attributes:
        model: name in targets.yaml, for messages.
        source: where they come from.
        locked: what `slipway.lock` says of this source, or None on first sight.
        local: the user's file or directory, for sources of kind `path`.
        cache: where finished and half-done downloads live.
        scratch: an empty directory on the cache's file system; removed when the request is over.
        log: file for what tools print.
        progress: see `Progress`.
    """

    model: str
    source: WeightsSource
    locked: Entry | None
    local: Path | None
    cache: DownloadCache
    scratch: Path
    log: Path
    progress: Progress


@dataclass(frozen=True, slots=True)
class Promise:
    """What a server, or the lock, says of a file before it is read; None where it says nothing."""

    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a source got hold of.

    Attributes:
        resolved: the exact thing behind the name: a commit, a version, or "" where there is no such notion.
        files: path in the result -> file on this machine.
        keep: what becomes of the files. `move`: they were made for this request, and go into the cache. `link`: they
            are in another program's cache, which never edits them: they stay, and the store links to them. `copy`:
            they belong to the user, who may edit them.
        digests: of files that were hashed while they arrived.
        promised: what the server said of them; checked like the lock.
    """

    resolved: str
    files: Mapping[str, Path]
    keep: Literal["move", "link", "copy"]
    digests: Mapping[str, Digest] = field(default_factory=dict)
    promised: Mapping[str, Promise] = field(default_factory=dict)
