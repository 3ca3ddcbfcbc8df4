"""What `slipway.lock` holds about one model's weights, as a value, and the rule by which it is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.documents.codec import encode
from pipeline.files import Digest
from pipeline.matrix.source import WeightsSource
from pipeline.transport.http import redact_url


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
