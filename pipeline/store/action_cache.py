"""Action results by key, in `ac/ab/<key>`. `store` reads and writes them.

A result carries a digest of itself, so that flipped bits are noticed wherever it comes from; one that is damaged is
reported, dropped, and the action simply runs again. The file is the message that Bazel's caches keep (see
`message`), so a web server can serve the directory as it is. Last use is the mtime.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.files import read_file, write_atomic

from .action_result import ActionResult, decode
from .directories import files_of
from .message import pack, unpack
from .os_errors import ODD, Note, remove_any, store_error, told

DAY_SECONDS = 86_400
LARGEST_BYTES = 16 << 20
"""Size above which a file is no result of ours."""
DURABLE_SECONDS = 0.05
"""An action that took longer is on the disk before it counts as done; an fsync takes a few milliseconds."""


class ActionCache:
    """The results of one store directory. Methods may be called from any thread.

    `ac/` is made in it when first written to; `note` gets a sentence about each damaged result.
    """

    def __init__(self, root: str, note: Note, *, read_only: bool = False) -> None:
        self._root = root
        self._note = note
        self._read_only = read_only
        self._noted: set[str] = set()

    def path(self, key: str) -> str:
        """Where a result is, or would be."""
        return f"{self._root}/ac/{key[:2]}/{key}"

    def get(self, key: str) -> ActionResult | None:
        """The result of a key, or None. A damaged one is reported and dropped.

        Raises:
            StoreError: it is there and cannot be read.
        """
        path = self.path(key)
        try:
            data = read_file(path, LARGEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno not in ODD:
                raise store_error(error, "read a record", path) from error
            data = b""
        encoded = unpack(data)
        record = decode(encoded) if encoded is not None else None
        if record is None or record.key != key:
            if key not in self._noted:
                self._noted.add(key)
                self._note(f"the record {key[:12]}… was damaged; its action will run again")
            if not self._read_only:
                with contextlib.suppress(OSError):
                    remove_any(path)
            return None
        return record

    def put(self, record: ActionResult) -> None:
        """Add a result, whose blobs are on the disk; when this returns, it survives the death of this process.

        Raises:
            StoreError: it could not be written.
        """
        path = self.path(record.key)
        with told("write a record", path):
            data = pack(record)
            write_atomic(path, data, through=f"{self._root}/part", durable=record.seconds > DURABLE_SECONDS)

    def has(self, key: str) -> bool:
        """Whether there seems to be a result; `get` knows for sure."""
        return Path(self.path(key)).exists()

    def keys(self) -> list[str]:
        """The keys of all results, the longest unused first."""
        return [key for key, _ in sorted(self._files(), key=lambda row: row[1].st_mtime)]

    def all(self) -> Iterator[ActionResult]:
        """All sound results, oldest first."""
        found = (record for key, _ in self._files() if (record := self.get(key)) is not None)
        return iter(sorted(found, key=lambda record: record.started))

    def used(self, key: str) -> float:
        """When a result was last of use, unix seconds; 0 when it is not there."""
        try:
            return Path(self.path(key)).stat().st_mtime
        except OSError:
            return 0.0

    def touch(self, key: str) -> None:
        """Note that a result was of use, no oftener than once a day."""
        if not self._read_only and self.used(key) < time.time() - DAY_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(self.path(key))

    def remove(self, key: str) -> None:
        """Drop a result.

        Raises:
            StoreError: it cannot be removed.
        """
        with told("remove a record", self.path(key)):
            Path(self.path(key)).unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of all results."""
        return sum(found.st_size for _, found in self._files())

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        return files_of(f"{self._root}/ac")
