"""What is on its way to the remote store, while the build goes on: several blobs at a time, each of them once.

`store` hands over what was committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .action_result import ActionResult
from .cas import EMPTY
from .remote import Remote

UPLOADS = 4


class Outgoing:
    """The uploads of one store, whose blobs are in the files that `path_of` says. May be called from any thread."""

    def __init__(self, remote: Remote, path_of: Callable[[str], str]) -> None:
        self._remote = remote
        self._path_of = path_of
        self._pool = ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")
        self._blobs: dict[str, Future[bool]] = {}
        self._records: dict[str, Future[bool]] = {}
        self._lock = threading.Lock()

    def send(self, record: ActionResult) -> Future[bool]:
        """Send a record after all its blobs, once; the answer is whether all is there."""
        with self._lock:
            sent = self._records.get(record.key)
            if sent is None:
                blobs = self._begin(record.all_blobs())
                # The pool takes things in turn: when it comes to this, the blobs have been begun, and none waits.
                sent = self._records[record.key] = self._pool.submit(self._publish, record, blobs)
        return sent

    def blobs(self, wanted: Iterable[str]) -> bool:
        """Send blobs, and wait; whether they are all there."""
        with self._lock:
            blobs = self._begin(wanted)
        return all(blob.result() for blob in blobs)

    def close(self) -> None:
        """Wait until all is sent."""
        self._pool.shutdown(wait=True)

    def _begin(self, wanted: Iterable[str]) -> list[Future[bool]]:
        for sha256 in sorted({*wanted} - {EMPTY} - self._blobs.keys()):
            self._blobs[sha256] = self._pool.submit(self._remote.send, sha256, self._path_of(sha256))
        return [self._blobs[sha256] for sha256 in wanted if sha256 != EMPTY]

    def _publish(self, record: ActionResult, blobs: Sequence[Future[bool]]) -> bool:
        return all(blob.result() for blob in blobs) and self._remote.publish(record)
