"""Records and their blobs from one store directory into another: how the stores of several CI jobs become one.

`doit cache merge` and `doit cache export` call it. Nothing is believed because it lies in a store: a record must be
whole and have the key of its own fields, a blob the digest it is named by. What is not right stays behind and is told;
the source is never changed. Both stores may be in use meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.files import copy_hashed, open_regular

from .action_result import ActionResult, key_of
from .os_errors import ODD, BlobMissing, StrPath, store_error
from .outputs import leads_outside
from .store import VERSION, Store


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer did.

    Attributes:
        bytes: size of the blobs that came with them.
        known: records that the target had already, with all their blobs.
        refused: (name of the action, why) of those that stay behind.
    """

    records: int
    bytes: int
    known: int
    refused: tuple[tuple[str, str], ...]


def open_source(root: StrPath, note: list[str]) -> Store:
    """Another store directory, to read from; what is wrong with it is noted in `note`. It may be empty.

    Raises:
        StoreError: there is no store.
    """
    path = os.fspath(root)
    if not Path(path, VERSION).is_dir():
        raise StoreError(
            "there is no store", where=path, hint="name a directory that `doit cache export` made, or a build/store"
        )
    return Store(path, read_only=True, note=note.append)


def transfer(source: Store, target: Store, keys: Iterable[str] | None = None) -> Transferred:
    """Copy records (all, oldest first, where no keys are given) with all their blobs; the caller closes the target.

    Of two records of one key the target keeps its own, if it is complete: what was built from its outputs stays a hit.

    Raises:
        StoreError: a store cannot be read or written.
    """
    target.hold()
    taken = size = known = 0
    refused: list[tuple[str, str]] = []
    for key in source.records.keys() if keys is None else keys:
        record = source.record(key)
        if record is None:
            continue  # damaged, and noted
        if _is_complete(target, record.key):
            known += 1
            continue
        try:
            _demand_right(source, record)
            size += sum(_blob(source, target, *one) for one in sorted(record.blobs().items()))
        except _Unfit as error:
            refused.append((record.name, str(error)))
            continue
        _log(source, target, record)
        target.blobs.flush()
        target.records.put(record)
        taken += 1
    return Transferred(taken, size, known, tuple(refused))


class _Unfit(Exception):
    """A result or a blob that cannot be taken over."""


def _demand_right(source: Store, record: ActionResult) -> None:
    try:
        right = key_of(record.fields) == record.key
        outside = leads_outside(record, source.blobs)
    except BlobMissing as error:
        raise _Unfit(error.what) from error
    except (TypeError, ValueError):
        right, outside = False, None
    if not right:
        raise _Unfit("its key is not that of its fields")
    if outside is not None:
        raise _Unfit(f"its symlink {outside} leads outside")


def _is_complete(store: Store, key: str) -> bool:
    record = store.record(key)
    return record is not None and all(store.blobs.check(sha256, size) for sha256, size in record.blobs().items())


def _blob(source: Store, target: Store, sha256: str, size: int) -> int:
    """Take over a blob; give its size, 0 where the target has it."""
    if target.blobs.check(sha256, size):
        return 0
    path, temporary = source.blobs.path(sha256), target.blobs.temporary()
    try:
        Path(temporary).parent.mkdir(parents=True, exist_ok=True)
        with open_regular(path) as old:
            if os.fstat(old.fileno()).st_size != size:
                raise _Unfit(f"the blob {sha256[:12]}… has another size")
            with Path(temporary).open("xb") as new:
                found = copy_hashed(old, new)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Unfit(f"the blob {sha256[:12]}… is missing") from error
    except OSError as error:
        if error.errno in ODD:
            raise _Unfit(f"the blob {sha256[:12]}… is no file") from error
        raise store_error(error, "copy a blob", error.filename or path) from error
    if found != (sha256, size):
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise _Unfit(f"the blob {sha256[:12]}… is damaged")
    target.blobs.adopt(temporary, found)
    return size


def _log(source: Store, target: Store, record: ActionResult) -> None:
    """Take over what the action's tools printed, if it is there: nothing depends on it."""
    if record.log is not None and record.log not in record.small:
        with contextlib.suppress(_Unfit):
            _blob(source, target, record.log, source.blobs.size(record.log))
