"""A finished action as a value, as JSON, and as the protobuf message that remote caches of the Bazel family keep.

The message is `ActionResult` of `build.bazel.remote.execution.v2` (remote_execution.proto): {output_files = 2,
stdout_raw = 5, stderr_digest = 8, execution_metadata = 9}, OutputFile {path = 1, digest = 2, is_executable = 4},
Digest {hash = 1, size_bytes = 2}, ExecutedActionMetadata {worker = 1}. It names our blobs as output files, since
bazel-remote answers only if all blobs that a message names are there, and carries the result itself, as JSON, in
`stdout_raw`. Written by hand: five fields do not need a library.
"""

from __future__ import annotations

import binascii
import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pipeline.errors import StoreError
from pipeline.files import is_safe_relative, sha256_bytes

from .stat_cache import canonical

FORMAT = 2
INLINED_BYTES = 4096
"""Up to this an output travels inside its result: a file for each of them would cost more than all else."""
INLINED_TOTAL_BYTES = 1 << 16
"""Outputs inlined in one result; what is beyond becomes blobs."""

FILE, PROGRAM, LINK = 0o644, 0o755, 0o120000
"""The modes an output can have. The content of a LINK is the target of the symlink."""

_HUGE = 1 << 60
_SHA256 = re.compile(r"[0-9a-f]{64}\Z").match


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
        facts: what the step reported.
        started: when it began, unix seconds.
        seconds: how long it took by the clock.
        cpu_seconds: what it cost.
        peak_bytes: resident memory of its largest process.
        host: the machine it ran on.
        log: digest of the blob with what its tools printed; None when they printed nothing.
        versions: what else was there, for people; not in the key.
        small: digest -> content of the outputs that the record carries itself.
    """

    key: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
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


def key_of(fields: Mapping[str, Any]) -> str:
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
    """Read a record; None when anything about it is not as `encode` makes it, or unsafe to follow."""
    body = data[_BODY:-1]
    if data != b'{"digest":"%b","result":%b}' % (sha256_bytes(body).encode(), body):
        return None
    try:
        document = json.loads(body)
        if document.pop("format") != FORMAT:
            return None
        document["outputs"] = {path: Output(*output) for path, output in document["outputs"].items()}
        document["small"] = {sha: binascii.a2b_base64(text) for sha, text in document["small"].items()}
        record = ActionResult(**document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return record if _is_sound(record) else None


def _is_sound(record: ActionResult) -> bool:
    """Whether a record can be acted upon. Its digest is right, but it may come from a machine that means us ill."""
    try:
        return (
            _SHA256(record.key) is not None
            and isinstance(record.name, str)
            and isinstance(record.fields, dict)
            and isinstance(record.facts, dict)
            and isinstance(record.host, str)
            and all(
                isinstance(n, int | float) and 0 <= n < _HUGE
                for n in (record.started, record.seconds, record.cpu_seconds, record.peak_bytes)
            )
            and (record.log is None or _SHA256(record.log) is not None)
            and all(is_safe_relative(path) and _is_output(output) for path, output in record.outputs.items())
            and not _nests(record.outputs)
            and all(sha256_bytes(data) == sha256 for sha256, data in record.small.items())
        )
    except TypeError:
        return False


def _is_output(output: Output) -> bool:
    sha256, size, mode = output
    return _SHA256(sha256) is not None and type(size) is int and size >= 0 and mode in {FILE, PROGRAM, LINK}


def _nests(outputs: Mapping[str, Output]) -> bool:
    """Whether one output would have to be a directory for another: a symlink that it is written through, perhaps."""
    return any(str(parent) in outputs for path in outputs if "/" in path for parent in PurePosixPath(path).parents)


_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STDOUT_RAW = 5
_MORE = 0x80
_WIDEST = 70


def pack(record: ActionResult) -> bytes:
    """The message for a record.

    Raises:
        StoreError: JSON cannot carry the record.
    """
    blobs = record.blobs()
    files = b"".join(
        _bytes(2, _bytes(1, _utf8(path)) + _bytes(2, _digest(sha256, size)) + (_int(4, 1) if mode == PROGRAM else b""))
        for path, (sha256, size, mode) in sorted(record.outputs.items())
        if sha256 in blobs
    )
    # A worker's name, because bazel-remote writes the message anew to add one where there is none.
    return files + _bytes(_STDOUT_RAW, encode(record)) + _bytes(9, _bytes(1, b"slipway"))


def unpack(message: bytes) -> bytes | None:
    """The encoded record in a message; None when there is none, or the message is malformed."""
    at, found = 0, None
    try:
        while at < len(message):
            tag, at = _read_varint(message, at)
            field, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                _, at = _read_varint(message, at)
                continue
            if kind == _BYTES:
                length, at = _read_varint(message, at)
            elif kind in {_FIXED32, _FIXED64}:
                length = 4 if kind == _FIXED32 else 8
            else:
                return None
            if at + length > len(message):
                return None
            if field == _STDOUT_RAW and kind == _BYTES:
                found = message[at : at + length]
            at += length
    except IndexError:
        return None
    return found


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _digest(sha256: str, size: int) -> bytes:
    return _bytes(1, sha256.encode()) + _int(2, size)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value & (_MORE - 1) | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            return value, at
        shift += 7
        if shift >= _WIDEST:
            raise IndexError(at)
