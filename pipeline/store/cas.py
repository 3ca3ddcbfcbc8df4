"""Content-addressed storage: bytes by their SHA-256 in `cas/ab/ab12…`, one file each, mode 0444, never changed.

`store` puts outputs here and takes them out into `build/` and `dist/`; `remote` fills it from other machines. A blob
appears by rename, after it was hashed, and is on the disk (fsync) before the action result that names it is written.

Up to `COPIED_BYTES` the tree gets a copy of its own, because root edits read-only files without noticing; beyond that
`sharing.share` decides. A hard link can be edited through, so the state of a blob's file is remembered, and a blob
whose state has changed is hashed again before it is believed. That state is one from before it was hashed: what is
written after it would be believed for ever. Blobs of up to `HASHED_BYTES` are hashed each time.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.files import (
    MISSING,
    Digest,
    State,
    Written,
    copy_hashed,
    finish,
    is_settled,
    look,
    open_regular,
    read_file,
    rename,
    sha256_bytes,
    sha256_file,
    state_of,
    temporary_in,
    write_atomic,
    written,
)
from pipeline.files.sharing import hard_link, move, reflink, share

from .directories import Unsynced, files_of
from .os_errors import ODD, BlobMissing, Note, StrPath, remove_any, store_error, told
from .stat_cache import StatCache

HASHED_BYTES = 1 << 16
COPIED_BYTES = 1 << 20
EMPTY = sha256_bytes(b"")


class Cas:
    """The blobs below one directory. Methods may be called from any thread.

    `cas/` and `part/` are made in it when first written to; for `scratch` see `Store`. `note` gets a sentence about
    each damaged blob, which is only passed over where nothing may be written. `sync` tells whether `flush` waits for
    the disk.
    """

    def __init__(
        self, root: str, note: Note, scratch: str | None = None, *, read_only: bool = False, sync: bool = True
    ) -> None:
        self.root = root
        self.part = f"{self.root}/part"
        self._note = note
        self._read_only = read_only
        self._scratch = scratch or (None if read_only else self.part)
        self._stat_cache = StatCache(f"{self.root}/stat-cache")
        self._unsynced = Unsynced(sync=sync)

    def path(self, sha256: str) -> str:
        """Where a blob is, or would be."""
        return f"{self.root}/cas/{sha256[:2]}/{sha256}"

    def put(self, path: StrPath, *, known: Digest | None = None) -> Digest:
        """Take in a scratch file, which is moved where that can be. It may be no symlink.

        Its digest is `known` where whoever wrote it has made that.

        Raises:
            StoreError: it is not a regular file, changed meanwhile, or the store cannot be written.
        """
        name = os.fspath(path)
        with told("store an output", name):
            found = os.lstat(name)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(
                    "is not a regular file, so it cannot be an output", where=name, hint="write a file in its place"
                )
            if known is not None and found.st_size != known.size:
                raise StoreError("is not what its step said of it", where=name, hint="run doit again")
            alone = found.st_nlink == 1  # else the download cache has it, too: one inode for both
            left = finish(name, 0o444) if alone else None
            digest = known or Digest(self._hash(name), found.st_size)
            if digest.size > COPIED_BYTES and self.check(*digest):  # the links to it stay
                return digest
            temporary = temporary_in(self.part)
            if not alone:
                share(name, temporary, 0o444, link=known is not None)
                left = finish(temporary, 0o444) if known is not None else None
            elif not move(name, temporary, 0o444):
                left = None
            return self._publish(temporary, digest, left)

    def link(self, path: StrPath, digest: Digest) -> None:
        """Take in a file of which the digest is known: it is not read, and stays where it is.

        The blob shares its blocks (a reflink, else a hard link), so that weights lie on the disk once. Where the blob
        is there already, the file is not even looked at.

        Raises:
            StoreError: it is not a regular file of that size, or the store cannot be written.
        """
        if self.check(*digest):
            return
        name, temporary = os.fspath(path), self.temporary()
        try:
            found = os.lstat(name)
            if not stat.S_ISREG(found.st_mode) or found.st_size != digest.size:
                raise StoreError("changed while it was being stored", where=name, hint="run doit again")
            Path(self.part).mkdir(parents=True, exist_ok=True)
            ours = found.st_uid == os.geteuid()  # else its mode is not ours to change
            if not reflink(name, temporary) and not (ours and hard_link(name, temporary)):
                with Path(name).open("rb") as old, Path(temporary).open("xb") as new:
                    if copy_hashed(old, new) != digest:
                        raise StoreError("changed while it was being stored", where=name, hint="run doit again")
            self._publish(temporary, digest, finish(temporary, 0o444))
        except OSError as error:
            raise store_error(error, "store an output", error.filename or name) from error
        finally:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()

    def put_bytes(self, data: bytes) -> Digest:
        """Take in a blob from memory.

        Raises:
            StoreError: the store cannot be written.
        """
        digest = Digest(sha256_bytes(data), len(data))
        with told("store an output"):
            write_atomic(self.path(digest.sha256), data, 0o444, through=self.part)
        self._unsynced.add(self.path(digest.sha256))
        return digest

    def adopt(self, temporary: str, digest: Digest, *, synced: bool = False) -> None:
        """Take in a file made under a name of `temporary`, whose digest the caller has compared.

        `synced` tells whether it is on the disk.

        Raises:
            StoreError: the store cannot be written.
        """
        with told("store a download"):
            self._publish(temporary, digest, finish(temporary, 0o444), synced=synced)

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Whether a blob (of that size) seems to be there; `check` knows for sure."""
        found = self.size(sha256)
        return found >= 0 and (size is None or found == size)

    def size(self, sha256: str) -> int:
        """Bytes of a blob; -1 when it is not there."""
        try:
            found = os.lstat(self.path(sha256))
        except OSError:
            return -1
        return found.st_size if stat.S_ISREG(found.st_mode) else -1

    def check(self, sha256: str, size: int | None = None) -> bool:
        """Whether a blob is there (and has that size) and is what its name says; see `checked`."""
        return self.checked(sha256, size) is not None

    def checked(self, sha256: str, size: int | None = None) -> Written | None:
        """How a blob's file was written: its content is right while it stays so. A damaged one is reported and removed.

        Raises:
            StoreError: it is there and cannot be read.
        """
        path = self.path(sha256)
        try:
            found = os.lstat(path)
            state = state_of(found)
            is_known = found.st_size > HASHED_BYTES and self._stat_cache.known(sha256, state) == sha256
            if not stat.S_ISREG(found.st_mode) or not (is_known or self._hash(path) == sha256):
                self._damaged(sha256)
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error(error, "read a blob", path) from error
        if not is_known and is_settled(state, time.time_ns()):
            self._remember(sha256, state)
        return written(state) if size is None or found.st_size == size else None

    def read(self, sha256: str) -> bytes:
        """The whole content of a (small) blob, verified.

        Raises:
            BlobMissing: it is not there, or was damaged.
            StoreError: it cannot be read.
        """
        path = self.path(sha256)
        try:
            data = read_file(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(sha256) from error
        except OSError as error:
            if error.errno not in ODD:
                raise store_error(error, "read a blob", path) from error
            data = b""
        if sha256_bytes(data) != sha256:
            self._damaged(sha256)
            raise _missing(sha256)
        return data

    def materialise(self, digest: Digest, target: str, mode: int = 0o644, *, link: bool = False) -> Written:
        """Put the content of a blob at a path, atomically, and return how it was left; directories are made if need be.

        The mode is 0o644 or 0o755, but that of a hard link is the blob's own, 0o444. With `link` one is made
        also where a copy would be, whenever that is possible: for weights.

        Raises:
            BlobMissing: it is not there, or was damaged.
            OSError: the target cannot be written; `outputs` knows what to make of that.
        """
        if digest.size <= COPIED_BYTES and not link:
            return self.write_beside(target, self.read(digest.sha256), mode)
        before = self.checked(*digest)
        if before is None:
            raise _missing(digest.sha256)
        source, left = self.path(digest.sha256), None
        try:
            left = share(source, target, mode, through=self._scratch)
        except FileNotFoundError:
            if look(source) != MISSING:
                raise
        after = look(source)
        if left is None or written(after) != before:
            return self.materialise(digest, target, mode, link=link)  # what was changed is checked again
        self._remember(digest.sha256, after)
        return left

    def write_beside(self, target: str, data: bytes, mode: int) -> Written:
        """Write a file of the tree atomically, by a temporary file where a killed process leaves it in nobody's way."""
        return write_atomic(target, data, mode, through=self._scratch)

    def part_for(self, target: str) -> str:
        """The directory for a temporary file that becomes `target`."""
        return self._scratch or os.path.dirname(target)

    def flush(self) -> None:
        """Wait until all blobs put so far, by any thread, are on the disk.

        Raises:
            StoreError: the disk says no.
        """
        self._unsynced.flush()

    def remove(self, sha256: str) -> None:
        """Drop a blob; one that is not there is no error.

        Raises:
            StoreError: it cannot be removed.
        """
        self._stat_cache.forget(sha256)
        with told("remove a blob", self.path(sha256)):
            remove_any(self.path(sha256))

    def distrust(self, sha256: str) -> None:
        """Read the blob the next time, whatever its state says."""
        self._stat_cache.forget(sha256)

    def all(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every blob with its state."""
        return files_of(f"{self.root}/cas")

    def temporary(self) -> str:
        """A new name on the store's file system."""
        return temporary_in(self.part)

    def close(self) -> None:
        """Flush, and remember what is known of the blobs."""
        if not self._read_only:
            self.flush()
            if Path(self.root).is_dir():
                self._stat_cache.save()

    def _hash(self, path: str) -> str:
        with open_regular(path) as file:  # of a blob another thread may put an equal one in its place meanwhile
            before = state_of(os.fstat(file.fileno()))
            sha256 = sha256_file(file)
            after = state_of(os.fstat(file.fileno()))
        if before[:2] != after[:2]:
            raise StoreError(
                "changed while it was being stored", where=path, hint="a program is still writing it: run doit again"
            )
        return sha256

    def _publish(self, temporary: str, digest: Digest, left: Written | None, *, synced: bool = False) -> Digest:
        """Give a finished file its name. `left` is how it was before it was hashed; None where this one was not."""
        try:
            target = self.path(digest.sha256)
            rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        if not synced:
            self._unsynced.add(target)
        state = look(target)
        if written(state) == left:
            self._remember(digest.sha256, state)
        return digest

    def _remember(self, sha256: str, state: State) -> None:
        if state[0] > HASHED_BYTES:
            self._stat_cache.remember(sha256, state, sha256)

    def _damaged(self, sha256: str) -> None:
        self._note(f"the blob {sha256[:12]}… was damaged; what needs it will be built again")
        if not self._read_only:
            self.remove(sha256)


def _missing(sha256: str) -> BlobMissing:
    return BlobMissing(
        f"the blob {sha256[:12]}… is missing or damaged", hint="run doit again: it builds what is missing"
    )
