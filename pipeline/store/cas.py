# ruff: noqa: PTH108, PTH116, PTH123, PTH208
# Paths are strings in here: this is called for every file, and pathlib costs more than the work.
"""Bytes by their SHA-256: `<root>/cas/ab/ab12…`, one file each, mode 0444, never changed once it is there.

`store` puts outputs here and takes them out into `build/` and `dist/`; `remote` fills it from other machines. A blob
appears by rename, after it was hashed, and is on the disk (fsync) before the record that names it is written.

Up to `COPIED` bytes the tree gets a copy of its own, because root edits read-only files without noticing; beyond that
`links` decides. A hard link can be edited through, so the state of a blob's file is remembered, and a blob whose
state has changed is hashed again before it is believed. Blobs of up to `CHEAP` bytes are simply hashed each time.

It does not know records.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline.errors import StoreError

from .files import copy_file, name_beside, read_file, rename, replace_file, write_file
from .links import finish, give
from .os_errors import BlobMissing, Note, StrPath, store_error
from .stat_cache import RACY, StatCache, hash_file

CHEAP = 1 << 16
COPIED = 1 << 20
EMPTY = hashlib.sha256().hexdigest()


class Stored(NamedTuple):
    """Name and size of a blob."""

    sha256: str
    size: int


class Cas:
    """The blobs below one directory. Methods may be called from any thread.

    Args:
        root: the store's directory; `cas/` and `part/` are made in it when first written to.
        note: gets a sentence about each damaged blob.
        read_only: nothing will be written; damaged blobs are only passed over.
        sync: whether `flush` waits for the disk.
    """

    def __init__(self, root: StrPath, note: Note, *, read_only: bool = False, sync: bool = True) -> None:
        self.root = os.fspath(root)
        self._note = note
        self._read_only = read_only
        self._sync = sync
        self._stat_cache = StatCache(f"{self.root}/blobs")
        self._unsynced: list[str] = []
        self._sync_lock = threading.Lock()
        self._numbers = itertools.count()

    def path(self, sha256: str) -> str:
        """Where a blob is, or would be."""
        return f"{self.root}/cas/{sha256[:2]}/{sha256}"

    def put(self, path: StrPath, *, move: bool = False) -> Stored:
        """Take in a file.

        Args:
            path: a regular file (not a symlink to one).
            move: it is the caller's scratch file and need not be left; spares a copy on one file system.

        Raises:
            StoreError: it is not a regular file, changed meanwhile, or the store cannot be written.
        """
        name = os.fspath(path)
        try:
            state = os.lstat(name)
            if not stat.S_ISREG(state.st_mode):
                raise StoreError(
                    "is not a regular file, so it cannot be an output", where=name, hint="write a file in its place"
                )
            if state.st_nlink > 1 and state.st_size > CHEAP:
                # Most likely a link to one of our own blobs (a bundle of weights): no copy just to learn that.
                sha256 = self._hash(name)
                if self.check(sha256, state.st_size):
                    return self._given_up(name, Stored(sha256, state.st_size), move=move)
            if move and state.st_nlink == 1 and (moved := self._moved(name)) is not None:
                return self._publish(moved)
            return self._given_up(name, self._publish(self._copied(name)), move=move)
        except OSError as error:
            raise store_error(error, "store an output", error.filename or name) from error

    def put_bytes(self, data: bytes) -> Stored:
        """Take in a blob from memory.

        Raises:
            StoreError: the store cannot be written.
        """
        try:
            temporary = self.temporary()
            write_file(temporary, data, 0o444)
            return self._rename(temporary, Stored(hashlib.sha256(data).hexdigest(), len(data)))
        except OSError as error:
            raise store_error(error, "store an output", error.filename) from error

    def adopt(self, temporary: str, sha256: str, size: int) -> None:
        """Take in a file made under a name of `temporary`, whose digest the caller has compared.

        Raises:
            StoreError: the store cannot be written.
        """
        try:
            finish(temporary, 0o444)
            self._rename(temporary, Stored(sha256, size))
        except OSError as error:
            raise store_error(error, "store a download", error.filename) from error

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Whether a blob (of that size) seems to be there; `check` knows for sure."""
        try:
            found = os.stat(self.path(sha256)).st_size
        except OSError:
            return False
        return size is None or found == size

    def check(self, sha256: str, size: int | None = None) -> bool:
        """Whether a blob is there and is what its name says. A damaged one is reported and removed.

        Raises:
            StoreError: it is there and cannot be read.
        """
        path = self.path(sha256)
        try:
            state = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise store_error(error, "read a blob", path) from error
        if size is not None and state.st_size != size:
            return self._damaged(sha256)
        if state.st_size > CHEAP and self._stat_cache.peek(sha256, state) == sha256:
            return True
        try:
            found = self._hash(path)
        except OSError as error:
            raise store_error(error, "read a blob", path) from error
        if found != sha256:
            return self._damaged(sha256)
        self._learn(sha256, state)
        return True

    def read(self, sha256: str) -> bytes:
        """The whole content of a (small) blob, verified.

        Raises:
            BlobMissing: it is not there, or was damaged.
            StoreError: it cannot be read.
        """
        path = self.path(sha256)
        try:
            data = read_file(path)
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(sha256) from None
        except OSError as error:
            raise store_error(error, "read a blob", path) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            self._damaged(sha256)
            raise _missing(sha256)
        return data

    def open(self, sha256: str) -> BinaryIO:
        """A blob to read from, verified; the caller closes it.

        Raises:
            BlobMissing: it is not there, or was damaged.
            StoreError: it cannot be read.
        """
        if not self.check(sha256):
            raise _missing(sha256)
        try:
            return open(self.path(sha256), "rb")
        except OSError as error:
            raise store_error(error, "read a blob", self.path(sha256)) from error

    def materialise(self, sha256: str, target: StrPath, mode: int = 0o644, *, link: bool = False) -> None:
        """Put the content of a blob at a path, atomically; directories are made if need be.

        Args:
            sha256: which blob.
            target: where; a file that is there is replaced.
            mode: 0o644 or 0o755. (A hard link has the blob's own, 0o444.)
            link: a link also where a copy would be made, whenever one is possible: for weights.

        Raises:
            BlobMissing: it is not there, or was damaged.
            OSError: the target cannot be written; `outputs` knows what to make of that.
        """
        name = os.fspath(target)
        source = self.path(sha256)
        try:
            size = os.stat(source).st_size
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(sha256) from None
        if size <= COPIED and not link:
            replace_file(name, self.read(sha256), mode, self.temporary_for(name))
            return
        if not self.check(sha256):
            raise _missing(sha256)
        known = os.stat(source)
        give(source, name, mode, self.temporary_for(name))
        now = os.stat(source)
        if (known.st_ino, known.st_size, known.st_mtime_ns) == (now.st_ino, now.st_size, now.st_mtime_ns):
            self._learn(sha256, now, written=True)  # a new link changes the ctime, and nothing else

    def flush(self) -> None:
        """Wait until all blobs put so far, by any thread, are on the disk.

        Raises:
            StoreError: the disk says no.
        """
        with self._sync_lock:
            pending, self._unsynced = self._unsynced, []
            for path in pending if self._sync else ():
                try:
                    fd = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(fd)
                    finally:
                        os.close(fd)
                except FileNotFoundError:
                    continue  # found damaged and removed meanwhile: nothing to keep
                except OSError as error:
                    raise store_error(error, "write a blob", path) from error

    def remove(self, sha256: str) -> None:
        """Drop a blob; one that is not there is no error.

        Raises:
            StoreError: it cannot be removed.
        """
        self._stat_cache.forget(sha256)
        try:
            os.unlink(self.path(sha256))
        except FileNotFoundError:
            return
        except OSError as error:
            raise store_error(error, "remove a blob", self.path(sha256)) from error

    def temporary_for(self, target: str) -> str:
        """Where to prepare a file for the tree: where a killed process leaves it in nobody's way, if that can be."""
        return name_beside(target) if self._read_only else self.temporary()

    def distrust(self, sha256: str) -> None:
        """Read the blob the next time, whatever its state says."""
        self._stat_cache.forget(sha256)

    def all(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every blob with its state."""
        with contextlib.suppress(FileNotFoundError):
            for shard in sorted(os.listdir(f"{self.root}/cas")):
                with os.scandir(f"{self.root}/cas/{shard}") as entries:
                    for entry in entries:
                        with contextlib.suppress(FileNotFoundError):
                            yield entry.name, entry.stat(follow_symlinks=False)

    def temporary(self) -> str:
        """A new name on the store's file system, unique among all processes and threads."""
        return f"{self.root}/part/{os.getpid()}.{next(self._numbers)}"

    def close(self) -> None:
        """Flush, and remember what is known of the blobs."""
        if not self._read_only:
            self.flush()
            self._stat_cache.save()

    def _hash(self, path: str) -> str:
        with open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            sha256 = hash_file(file)
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise StoreError(
                "changed while it was being stored", where=path, hint="a program is still writing it: run doit again"
            )
        return sha256

    def _moved(self, name: str) -> str | None:
        temporary = self.temporary()
        try:
            rename(name, temporary)
        except OSError:
            return None  # another file system, or not ours to move: copying tells
        return temporary

    def _copied(self, name: str) -> str:
        temporary = self.temporary()
        copy_file(name, temporary)
        return temporary

    def _given_up(self, name: str, stored: Stored, *, move: bool) -> Stored:
        if move:
            os.unlink(name)
        return stored

    def _publish(self, temporary: str) -> Stored:
        try:
            stored = Stored(self._hash(temporary), os.stat(temporary).st_size)
            finish(temporary, 0o444)
            return self._rename(temporary, stored)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _rename(self, temporary: str, stored: Stored) -> Stored:
        """Give a finished file its name. A large blob that is there and sound is kept, for the links to it."""
        sha256, size = stored
        if size > COPIED and self.check(sha256, size):
            os.unlink(temporary)
            return stored
        target = self.path(sha256)
        rename(temporary, target)
        self._unsynced.append(target)
        if size > CHEAP:
            self._learn(sha256, os.stat(target), written=True)
        return stored

    def _learn(self, sha256: str, state: os.stat_result, *, written: bool = False) -> None:
        if state.st_size > CHEAP and (written or state.st_ctime_ns + RACY < time.time_ns()):
            self._stat_cache.remember(sha256, state, sha256)

    def _damaged(self, sha256: str) -> bool:
        self._note(f"the blob {sha256[:12]}… was damaged; what needs it will be built again")
        if not self._read_only:
            self.remove(sha256)
        return False


def _missing(sha256: str) -> BlobMissing:
    return BlobMissing(
        f"the blob {sha256[:12]}… is missing or damaged", hint="run doit again: it builds what is missing"
    )
