"""An action result as the protobuf message that remote caches of the Bazel family keep; the stores read and write it.

The message is `ActionResult` of `build.bazel.remote.execution.v2` (remote_execution.proto): {output_files = 2,
stdout_raw = 5, stderr_digest = 8, execution_metadata = 9}, OutputFile {path = 1, digest = 2, is_executable = 4},
Digest {hash = 1, size_bytes = 2}, ExecutedActionMetadata {worker = 1}. It names our blobs as output files, since
bazel-remote answers only if all blobs that a message names are there, and carries the result itself, as JSON, in
`stdout_raw`. Written by hand: five fields do not need a library.
"""

from __future__ import annotations

from pipeline.binary import protobuf
from pipeline.binary.protobuf import varint

from .action_result import PROGRAM, ActionResult, encode

_STDOUT_RAW = 5


def pack(record: ActionResult) -> bytes:
    """The message for a record.

    Raises:
        StoreError: JSON cannot carry the record.
    """
    blobs = record.blobs()
    files = b"".join(
        _bytes(
            2,
            _bytes(1, path.encode("utf-8", "replace"))
            + _bytes(2, _bytes(1, sha256.encode()) + _int(2, size))
            + (_int(4, 1) if mode == PROGRAM else b""),
        )
        for path, (sha256, size, mode) in sorted(record.outputs.items())
        if sha256 in blobs
    )
    # A worker's name, because bazel-remote writes the message anew to add one where there is none.
    return files + _bytes(_STDOUT_RAW, encode(record)) + _bytes(9, _bytes(1, b"slipway"))


def unpack(message: bytes) -> bytes | None:
    """The encoded record in a message; None when there is none, or the message is malformed."""
    found = None
    try:
        for number, kind, start, end in protobuf.fields(message):
            if number == _STDOUT_RAW and kind == protobuf.BYTES:
                found = message[start:end]
    except ValueError:
        return None
    return found


def _bytes(field: int, value: bytes) -> bytes:
    return varint(field << 3 | protobuf.BYTES) + varint(len(value)) + value


def _int(field: int, value: int) -> bytes:
    return varint(field << 3 | protobuf.VARINT) + varint(value)
