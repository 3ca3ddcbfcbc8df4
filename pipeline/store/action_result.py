"""A finished action as a value and as JSON. Whatever machine it comes from, one that was read can be acted upon.

The executor makes them, the stores keep them (in the form that `message` gives them).
"""

from __future__ import annotations

import binascii
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from pipeline.documents import untrusted
from pipeline.documents.report import verdict_in
from pipeline.errors import FormatError, StoreError
from pipeline.files import is_sha256, sha256_bytes
from pipeline.files.names import PATH_BYTES, is_safe_relative

from .stat_cache import canonical

FORMAT = 2
INLINED_BYTES = 4096
"""Up to this an output travels inside its result: a file for each of them would cost more than all else."""
INLINED_TOTAL_BYTES = 1 << 16
"""Outputs inlined in one result; what is beyond becomes blobs."""

FILE, PROGRAM, LINK = 0o644, 0o755, 0o120000
"""The modes an output can have. The content of a LINK is the target of the symlink."""

_HUGE = 1 << 47
"""Beyond what any time in seconds or size in bytes of ours is (128 TiB)."""
_LONGEST = 500
"""Characters of a name."""


class Output(NamedTuple):
    """One file that an action made. A tuple and not a dataclass: there are tens of thousands of them."""

    sha256: str
    size: int
    mode: int = FILE


@dataclass(frozen=True)
class ActionResult:
    """A finished action: what went in and what came out.

    Attributes:
        key: SHA-256 of the canonical JSON of `fields`.
        name: the action, e.g. `compile:minilm-f32@ios-arm64`.
        fields: the whole key document.
        outputs: relative posix path -> output.
        started: when it began, unix seconds.
        seconds: how long it took by the clock.
        peak_bytes: resident memory of its largest process.
        log: digest of the blob with what its tools printed; None when they printed nothing.
        versions: what else was there, for people; not in the key.
        small: digest -> content of the outputs that the record carries itself.
    """

    key: str
    name: str
    fields: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    host: str = ""
    log: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    small: Mapping[str, bytes] = field(default_factory=dict)

    def blobs(self) -> dict[str, int]:
        """Digest -> size of the outputs that are blobs of their own."""
        small = self.small
        return {o.sha256: o.size for o in self.outputs.values() if o.sha256 not in small}

    def all_blobs(self) -> set[str]:
        """The digests of all blobs that belong to it: those of outputs, and what was printed."""
        return {*self.blobs(), *({self.log} if self.log and self.log not in self.small else ())}


def key_of(fields: Mapping[str, object]) -> str:
    """The key that belongs to a key document: SHA-256 of its canonical JSON."""
    return sha256_bytes(canonical(fields))


def encode(record: ActionResult) -> bytes:
    """A result as one line of JSON with its own digest in front.

    Raises:
        StoreError: JSON cannot carry its fields or facts.
    """
    document = {one.name: getattr(record, one.name) for one in dataclasses.fields(record)} | {
        "format": FORMAT,
        "fields": dict(record.fields),
        "facts": dict(record.facts),
        "outputs": dict(record.outputs),
        "versions": dict(record.versions),
        "small": {sha256: binascii.b2a_base64(data, newline=False).decode() for sha256, data in record.small.items()},
    }
    try:
        body = canonical(document)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the result of {record.name} cannot be written: {error}",
            hint="this is a mistake in its step: facts are JSON, and numbers in them are finite",
        ) from error
    return b'{"digest":"%b","result":%b}' % (sha256_bytes(body).encode(), body)


_BODY = len(b'{"digest":"","result":') + 64


def decode(data: bytes) -> ActionResult | None:
    """Read a record; None when anything about it is not as `encode` makes it, or unsafe to follow.

    Its digest is that of its bytes, but it may come from a machine that means us ill.
    """
    body = data[_BODY:-1]
    if data != b'{"digest":"%b","result":%b}' % (sha256_bytes(body).encode(), body):
        return None
    try:
        document = json.loads(body)
        untrusted.check(document, os.fsencode)  # names of files need not be UTF-8
        if document.pop("format") != FORMAT:
            return None
        document["outputs"] = {path: Output(*output) for path, output in document["outputs"].items()}
        document["small"] = {sha: binascii.a2b_base64(text) for sha, text in document["small"].items()}
        record = ActionResult(**document)
        return record if _is_sound(record) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FormatError):
        return None


def digests_of(outputs: Mapping[str, Output]) -> dict[str, str]:
    """Relative path -> digest."""
    return {path: output.sha256 for path, output in outputs.items()}


def upstream_in(fields: Mapping[str, object]) -> Mapping[str, Mapping[str, str]]:
    """Role -> relative path -> digest, of what a key document says was read of upstream actions."""
    upstream = fields.get("upstream", {})
    if not isinstance(upstream, Mapping):
        raise TypeError("`upstream` of a key document is no object")
    return upstream


def _is_sound(record: ActionResult) -> bool:
    """Whether every field has its type, within bounds.

    Raises:
        FormatError, TypeError, ValueError, AttributeError: it has not.
    """
    verdict_in(record.facts)
    texts = [record.name, record.host, *record.versions, *record.versions.values()]
    times = (record.started, record.seconds, record.cpu_seconds)
    return (
        is_sha256(record.key)
        and isinstance(record.fields, dict)
        and isinstance(record.facts, dict)
        and all(
            isinstance(files, dict) and all(map(is_sha256, files.values()))
            for files in upstream_in(record.fields).values()
        )
        and bool(record.name)
        and all(len(text) <= _LONGEST and text.isprintable() for text in texts)
        and all(type(one) in {int, float} and 0 <= one < _HUGE for one in times)
        and type(record.peak_bytes) is int
        and 0 <= record.peak_bytes < _HUGE
        and (record.log is None or is_sha256(record.log))
        and all(is_safe_relative(path) and _is_output(output) for path, output in record.outputs.items())
        and not _nests(record.outputs)
        and all(sha256_bytes(data) == sha256 for sha256, data in record.small.items())
        and all(
            len(record.small[sha256]) == size for sha256, size, _ in record.outputs.values() if sha256 in record.small
        )
    )


def _is_output(output: Output) -> bool:
    sha256, size, mode = output
    longest = PATH_BYTES if mode == LINK else _HUGE
    return is_sha256(sha256) and type(size) is int and 0 <= size <= longest and mode in {FILE, PROGRAM, LINK}


def _nests(outputs: Mapping[str, Output]) -> bool:
    """Whether one output would have to be a directory for another: a symlink that it is written through, perhaps."""
    return any(str(parent) in outputs for path in outputs if "/" in path for parent in PurePosixPath(path).parents)
