"""What `slipway.lock` holds of one model's files; and between `fetch` and a source, what is asked for and what arrived.

Every source module has one function, `fetch(request) -> Arrived`. A source gets files onto this machine, hashing them
on the way where it can; comparing with the lock and caching are the same for all and live in `fetch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pipeline.documents.codec import encode
from pipeline.files import Digest
from pipeline.matrix.source import WeightsSource
from pipeline.transport.http import redact_url

from .cache import DownloadCache


@dataclass(frozen=True, slots=True)
class LockedFile:
    """The size in bytes and the SHA-256 of a file."""

    size: int
    sha256: str

    @property
    def digest(self) -> Digest:
        """The same, as the rest of the program has it."""
        return Digest(self.sha256, self.size)


@dataclass(frozen=True, slots=True)
class Entry:
    """The pin of one model.

    Attributes:
        source: the identity of the source it was made for (see `identity`). An entry for another source is no entry.
        resolved: commit of a hub repository, version of a package, "" for a URL.
        files: path in the result -> what it must be.
    """

    source: Mapping[str, object]
    resolved: str
    files: Mapping[str, LockedFile]

    @staticmethod
    def of(source: WeightsSource, resolved: str, digests: Mapping[str, Digest]) -> Entry:
        """The pin of what was fetched."""
        files = {path: LockedFile(digest.size, digest.sha256) for path, digest in sorted(digests.items())}
        return Entry(identity(source), resolved, files)

    @property
    def digests(self) -> dict[str, Digest]:
        """Path in the result -> digest."""
        return {path: file.digest for path, file in self.files.items()}


def identity(source: WeightsSource) -> dict[str, object]:
    """What makes a source this source: its settings, without `kind` (they imply it), unset ones, and secrets.

    When a person edits the source in targets.yaml the identity changes, the old entry no longer applies and the new
    source is locked afresh. A new password or signature in a URL changes nothing.
    """
    shown = replace(source, url=source.url and redact_url(source.url))
    settings = encode(shown).items()
    return {name: value for name, value in sorted(settings) if name != "kind" and value not in ("", [])}


def differences(expected: Mapping[str, Digest], got: Mapping[str, Digest]) -> list[str]:
    """One sentence for each file that is missing, not expected, or of other content; empty when all is as locked."""
    found = [
        f"{path} is missing (expected sha256 {expected[path].sha256}, {expected[path].size} bytes)"
        for path in sorted(expected.keys() - got.keys())
    ]
    found += [
        f"{path} is not in the lock (got sha256 {got[path].sha256}, {got[path].size} bytes)"
        for path in sorted(got.keys() - expected.keys())
    ]
    for path in sorted(expected.keys() & got.keys()):
        want, have = expected[path], got[path]
        if want != have:
            found.append(
                f"{path}: expected sha256 {want.sha256} ({want.size} bytes), got {have.sha256} ({have.size} bytes)"
            )
    return found


Progress = Callable[[float, float | None], None]
"""Called with the bytes done so far and the bytes there are in all (None: not known)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a source.

    Attributes:
        model: name in targets.yaml, for messages.
        locked: what `slipway.lock` says of this source, or None on first sight.
        local: the user's file or directory, for sources of kind `path`.
        cache: where finished and half-done downloads live.
        scratch: an empty directory on the cache's file system; removed when the request is over.
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
