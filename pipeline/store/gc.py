"""Keeping the store small, and knowing what is in it: `doit gc`, `doit cache stats`, `doit cache verify`.

The commands call it. What a key means, and which keys today's matrix needs, the caller says.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from .store import Store


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed, or would remove, and what it left. Sizes are bytes of blobs."""

    records: int
    blobs: int
    bytes: int
    kept_records: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in a store.

    Attributes:
        bytes: size of all blobs.
        by_step: records by the step in their action's name.
        oldest: when the oldest record was made, unix seconds; None in an empty store.
        seconds: how long the actions took that are recorded: what an empty store would cost.
    """

    records: int
    blobs: int
    bytes: int
    record_bytes: int
    by_step: dict[str, int]
    oldest: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found. Damaged blobs are removed; the actions of incomplete records will run again."""

    blobs: int
    damaged: tuple[str, ...]
    incomplete: tuple[str, ...]


def collect(
    store: Store,
    live: Collection[str],
    *,
    max_bytes: int | None = None,
    max_age: float | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> Collected:
    """Remove what is old or too much: records first, the least recently used ones first, then blobs that none names.

    The store is locked, so that no other process uses it. Keys that are `live`, and their blobs, stay, whatever the
    limits: bytes of all blobs, and seconds since the last use of a record. `now` is unix seconds.

    Raises:
        StoreError: another process uses the store, or it cannot be written.
    """
    if not dry_run:
        store.exclusive()
    now = time.time() if now is None else now
    sizes = {sha256: state.st_size for sha256, state in store.blobs.all()}
    records = {record.key: record for record in store.records.all()}
    blobs_of = {key: [sha256 for sha256 in record.all_blobs() if sha256 in sizes] for key, record in records.items()}
    last_use = {key: store.records.used(key) for key, record in records.items()}
    users = Counter(sha256 for blobs in blobs_of.values() for sha256 in blobs)
    total = sum(sizes[sha256] for sha256 in users)
    doomed = []
    for key in sorted((key for key in records if key not in live), key=last_use.__getitem__):
        too_old = max_age is not None and last_use[key] < now - max_age
        too_much = max_bytes is not None and total > max_bytes
        if too_old or too_much:
            doomed.append(key)
            users.subtract(blobs_of[key])
            total -= sum(sizes[sha256] for sha256 in blobs_of[key] if users[sha256] == 0)
    garbage = [sha256 for sha256 in sizes if users[sha256] <= 0]
    if not dry_run:
        for key in doomed:
            store.records.remove(key)
        for sha256 in garbage:
            store.blobs.remove(sha256)
    freed = sum(sizes[sha256] for sha256 in garbage)
    return Collected(len(doomed), len(garbage), freed, len(records) - len(doomed), sum(sizes.values()) - freed)


def stats(store: Store) -> Stats:
    """Count what is in a store.

    Raises:
        StoreError: it cannot be read.
    """
    sizes = [state.st_size for _, state in store.blobs.all()]
    records = list(store.records.all())
    return Stats(
        records=len(records),
        blobs=len(sizes),
        bytes=sum(sizes),
        record_bytes=store.records.size(),
        by_step=dict(sorted(Counter(str(record.fields.get("step")) for record in records).items())),
        oldest=min((record.started for record in records), default=None),
        seconds=sum(record.seconds for record in records),
    )


def verify(store: Store) -> Verified:
    """Read every blob, also those whose digests are cached, and compare it with its digest.

    Raises:
        StoreError: something cannot be read.
    """
    names = [sha256 for sha256, _ in store.blobs.all()]
    damaged = []
    for sha256 in names:
        store.blobs.distrust(sha256)
        if not store.blobs.check(sha256):
            damaged.append(sha256)
    sound = set(names).difference(damaged)
    incomplete = [record.key for record in store.records.all() if not sound.issuperset(record.blobs())]
    return Verified(len(names), tuple(damaged), tuple(incomplete))
