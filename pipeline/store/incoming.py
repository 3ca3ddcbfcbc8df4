"""What is on its way from the remote store: several things at a time, each of them once. `store` takes it from here.

A record may be asked for before anybody looks it up, as soon as its key is known; its blobs then follow by themselves.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import NamedTuple

from pipeline.files import Digest

from .action_result import ActionResult
from .cas import Cas
from .remote import Remote

LOOKUPS = 4
DOWNLOADS = 4
"""Requests at a time: enough to hide a server's distance, and few enough for one that is busy."""

MISS_SECONDS = 10.0
"""How long the remote's word counts that it has no such record: another machine may be about to send it."""


class Asked(NamedTuple):
    """A record that was asked for, and when."""

    answer: Future[ActionResult | None]
    at: float

    def is_stale(self) -> bool:
        """Whether it was a miss, too long ago to be believed."""
        if not self.answer.done() or self.answer.cancelled():
            return False
        return self.answer.result() is None and time.monotonic() > self.at + MISS_SECONDS


class Incoming:
    """The downloads of one store. Methods may be called from any thread."""

    def __init__(self, remote: Remote, blobs: Cas) -> None:
        self._remote = remote
        self._blobs = blobs
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        self._downloads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download")
        self._records: dict[str, Asked] = {}
        self._taken: set[str] = set()
        self._files: dict[str, Future[bool]] = {}
        self._lock = threading.Lock()

    def ask(self, key: str, *, blobs: bool) -> Future[ActionResult | None]:
        """Ask for a record; what is missing here of its blobs is fetched, too, where they are wanted."""
        with self._lock:
            asked = self._records.get(key)
            if asked is None or asked.is_stale():
                asked = self._begin_lookup(key, self._record if blobs else self._remote.record)
        return asked.answer

    def record(self, key: str, *, anew: bool = False) -> ActionResult | None:
        """The record of a key, from the answer that is there or under way, else from the remote; see `Store.lookup`."""
        try:
            with self._lock:
                asked = self._records.get(key)
                if anew or asked is None or asked.is_stale() or key in self._taken:
                    asked = self._begin_lookup(key, self._remote.record)
                self._taken.add(key)
            return asked.answer.result()
        except (CancelledError, RuntimeError):  # it was closed
            return None

    def fetch(self, wanted: Mapping[str, int]) -> bool:
        """Have blobs (digest -> size) here; whether that could be done.

        Raises:
            StoreError: one cannot be written.
        """
        files = self._start(wanted.items())
        return all(file.result() for file in files)

    def close(self) -> None:
        """Begin nothing more; what is on its way is waited for, unless the remote was closed before."""
        for pool in (self._lookups, self._downloads):
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin_lookup(self, key: str, look: Callable[[str], ActionResult | None]) -> Asked:
        asked = self._records[key] = Asked(self._lookups.submit(look, key), time.monotonic())
        return asked

    def _record(self, key: str) -> ActionResult | None:
        record = self._remote.record(key)
        if record is not None:
            wanted = {sha: size for sha, size in record.blobs().items() if not self._blobs.has(sha, size)}
            if sum(wanted.values()) <= shutil.disk_usage(self._blobs.root).free:
                self._start(wanted.items())
        return record

    def _start(self, wanted: Iterable[tuple[str, int]]) -> list[Future[bool]]:
        with self._lock:
            return [self._files.get(sha256) or self._begin(sha256, size) for sha256, size in wanted]

    def _begin(self, sha256: str, size: int) -> Future[bool]:
        file = self._files[sha256] = self._downloads.submit(self._file, sha256, size)
        return file

    def _file(self, sha256: str, size: int) -> bool:
        try:
            if self._blobs.check(sha256, size):
                return True
            temporary = self._blobs.temporary()
            if not self._remote.fetch(sha256, size, temporary):
                return False
            self._blobs.adopt(temporary, Digest(sha256, size), synced=True)
            return True
        finally:
            with self._lock:  # what is damaged later is fetched again
                self._files.pop(sha256, None)
