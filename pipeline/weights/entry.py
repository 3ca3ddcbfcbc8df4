"""What `slipway.lock` holds about one model's weights, as a value, and the rule by which it is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.action import Json
from pipeline.files import Digest
from pipeline.transport.http import redact_url


@dataclass(frozen=True, slots=True)
class Entry:
    """The pin of one model.

    Attributes:
        source: the identity of the source it was made for (see `identity`). An entry for another source is no entry.
        resolved: commit of a hub repository, version of a package, "" for a URL.
        files: path in the result -> size and SHA-256.
    """

    source: Mapping[str, Json]
    resolved: str
    files: Mapping[str, Digest]

    @staticmethod
    def from_json(value: Json) -> Entry:
        """Rebuild an entry from `to_json`; `pipeline.plan.lockfile` has validated what comes from a file."""
        files = {path: Digest(item["sha256"], item["size"]) for path, item in value["files"].items()}
        return Entry(source=value["source"], resolved=value["resolved"], files=files)

    def to_json(self) -> Json:
        """JSON for the lock file, an action's parameters and a record."""
        return {
            "source": dict(self.source),
            "resolved": self.resolved,
            "files": {path: {"size": d.size, "sha256": d.sha256} for path, d in sorted(self.files.items())},
        }


def identity(source: Mapping[str, Json]) -> dict[str, Json]:
    """What makes a source this source: its settings, without `kind` (they imply it), unset ones, and secrets.

    When a person edits the source in targets.yaml the identity changes, the old entry no longer applies and the new
    source is locked afresh. A new password or signature in a URL changes nothing.
    """
    kept: dict[str, Json] = {}
    for name, value in sorted(source.items()):
        if name == "kind" or value is None or value in ("", [], ()):
            continue
        if name == "url":
            kept[name] = redact_url(str(value))
        else:
            kept[name] = list(value) if isinstance(value, tuple) else value
    return kept


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
