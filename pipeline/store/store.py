"""The way into the store: what is known of a key, taking in what an action made, putting it where it belongs.

The engine is the caller; commands use it for statistics. The layout is that of Bazel's disk cache, so a web server can
serve the directory. It may be shared by any number of trees and processes at once, and copied or restored as it is:

    v2/ac/ab/…      action results by key (`action_cache`)
    v2/cas/ab/…     the bytes they name, by SHA-256 (`cas`)
    v2/stat-cache   which blobs need not be hashed again; may be lost
    v2/part/        partial files; emptied by a process that finds itself alone
    v2/lock         held shared by every process that uses the store, exclusively by `gc`
    CACHEDIR.TAG    tells backups to leave it out

A commit writes blobs, waits for the disk, then writes the result: what a result names was there. Whatever is damaged
afterwards is found when it is used, reported once, and counts as not there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pipeline.errors import StoreError
from pipeline.files import Digest

from . import outputs
from .action_cache import ActionCache
from .action_result import ActionResult
from .cas import Cas
from .directories import STALE_SECONDS, sweep, tag_cache
from .locks import is_alone, open_lock
from .os_errors import NoRoom, Note, StrPath, store_error
from .publish import publish
from .stat_cache import StatCache, walk

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .incoming import Incoming
    from .outgoing import Outgoing
    from .remote import Remote

How = Literal["restored", "fetched", "remote"]
VERSION = "v2"
"""Directory of this layout; what other versions of Slipway have beside it is left alone."""


class Found(NamedTuple):
    """A record whose outputs can be had.

    `how` is `restored` (they are in this store), `fetched` (they are by now) or `remote` (not all are: see `lookup`).
    """

    record: ActionResult
    how: How


class Store:
    """The store of one directory, which is made when something is first written. May be called from any thread.

    `remote` is the store of other machines; `scratch` a directory for files on their way into a tree, by default
    `v2/part`. When it is `read_only`, `commit` refuses, and nothing is fetched. With `sync`, commits wait for the disk.
    `note` gets each sentence about something that was wrong and is worked around; else they collect in `notes`.
    """

    def __init__(
        self,
        root: StrPath,
        remote: Remote | None = None,
        *,
        scratch: StrPath | None = None,
        read_only: bool = False,
        sync: bool = True,
        note: Note | None = None,
    ) -> None:
        self.top = os.fspath(root)
        self.root = f"{self.top}/{VERSION}"
        self.notes: list[str] = []
        self.note = note or self.notes.append
        self.read_only = read_only
        self.remote = remote
        between = None if scratch is None else os.fspath(scratch)
        self.blobs = Cas(self.root, self.note, between, read_only=read_only, sync=sync)
        self.records = ActionCache(self.root, self.note, read_only=read_only)
        self._shared: int | None = None
        self._refused: set[str] = set()
        self._incoming: Incoming | None = None
        self._outgoing: Outgoing | None = None
        self._lock = threading.Lock()

    def record(self, key: str) -> ActionResult | None:
        """What this store knows of a key, whether or not the outputs are still there.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.records.get(key)

    def lookup(
        self, key: str, declared: Iterable[str] = (), *, anew: bool = False, bytes_wanted: bool = True
    ) -> Found | None:
        """The record of a key, with every blob it names in this store, fetched if need be; None when that cannot be.

        A result without the outputs that are declared is dropped. Where it has just been made elsewhere (`anew`), that
        the remote store did not have it before counts for nothing. With no bytes wanted, blobs that are not here stay
        in the remote store, which is believed to have them.

        Raises:
            StoreError: the store cannot be read, or what was fetched cannot be written.
        """
        self.hold(create=False)
        record = self.records.get(key)
        how: How = "restored"
        if record is None:
            how = "fetched"
            if key not in self._refused and (incoming := self._downloads()) is not None:
                record = incoming.record(key, anew=anew)
        if record is None:
            return None
        if missing := set(declared) - record.outputs.keys():
            self._drop(record, f"has no {min(missing)}")
            return None
        if not all(self.blobs.check(sha256, size) for sha256, size in record.blobs().items()):
            if not bytes_wanted and how == "fetched":
                return Found(record, "remote")
            try:
                is_here = self.fetch(record)
            except NoRoom:
                self._drop(record, "is more than the disk has room for")
                is_here = False
            if not is_here:
                return None
            how = "fetched"
        if (path := outputs.leads_outside(record, self.blobs)) is not None:
            self._drop(record, f"has a symlink that leads outside, {path}")
            return None
        if how == "restored":
            self.records.touch(key)
        else:
            self.hold()  # who does that first sweeps away leftovers: a file of ours must not be among them
            self.records.put(record)
        return Found(record, how)

    def ask(self, key: str, *, bytes_wanted: bool) -> Future[ActionResult | None] | None:
        """Have the remote store look for a record that will be looked up, and fetch its blobs; None without a remote.

        Raises:
            StoreError: the store cannot be written.
        """
        self.hold()
        return None if (incoming := self._downloads()) is None else incoming.ask(key, blobs=bytes_wanted)

    def fetch(self, record: ActionResult) -> bool:
        """Have every blob of a record here, from the remote store where it must be; whether that could be done.

        Raises:
            NoRoom: the disk cannot take them.
            StoreError: the store cannot be read or written.
        """
        if (incoming := self._downloads()) is None:
            return False
        wanted = {sha256: size for sha256, size in record.blobs().items() if not self.blobs.check(sha256, size)}
        self.hold()
        size, free = sum(wanted.values()), shutil.disk_usage(self.root).free
        if size > free:
            hint = "free some space, or point SLIPWAY_STORE at a larger disk"
            raise NoRoom(f"no space left: {size} bytes are to come and {free} are free", where=self.root, hint=hint)
        return incoming.fetch(wanted)

    def outgoing(self) -> Outgoing | None:
        """What goes to the remote store; None where nothing may be sent to it."""
        if self.remote is None or not self.remote.write:
            return None
        from .outgoing import Outgoing  # noqa: PLC0415 - only who uploads pays for the import

        with self._lock:
            self._outgoing = self._outgoing or Outgoing(self.remote, self.blobs.path)
        return self._outgoing

    def reconnect(self, remote: Remote) -> None:
        """Go on with another connection to the remote store, where this one was given up: in a process that goes on."""
        with self._lock:
            self.remote, self._incoming, self._outgoing = remote, None, None

    def _drop(self, record: ActionResult, why: str) -> None:
        """Do without a result that is sound and yet not right, since another machine has made it up; say so once."""
        if record.key not in self._refused:
            self._refused.add(record.key)
            self.note(f"the stored result of {record.name} {why}; it is not used")
        if not self.read_only:
            self.records.remove(record.key)

    def state(self, key: str) -> Literal["local", "remote", "miss"]:
        """Where a key would be found, at a glance and without fetching anything: for plans, not for decisions."""
        record = self.records.get(key)
        if record is not None and all(self.blobs.has(sha256, size) for sha256, size in record.blobs().items()):
            return "local"
        return "remote" if self.remote is not None and self.remote.has(key) else "miss"

    def commit(
        self,
        record: ActionResult,
        files: Mapping[str, StrPath] | StrPath,
        *,
        log: StrPath | None = None,
        known: Mapping[str, Digest] | None = None,
        linked: Mapping[str, tuple[StrPath, Digest]] | None = None,
    ) -> ActionResult:
        """Take in what an action made. When this returns, its work survives whatever happens to this process.

        Args:
            record: all but `outputs`, `small` and `log`, which are filled in.
            files: relative posix path -> scratch file, or a directory of which all files are meant. Symlinks may lead
                to places inside; executable bits are kept, other modes are not.
            log: what the action's tools printed; left where it is.
            known: relative path -> digest of files that whoever wrote them has hashed.
            linked: relative path -> a file elsewhere, which stays there and shares its content with the store, and its
                digest.

        Returns:
            The complete result.

        Raises:
            StoreError: a file cannot be an output, or the store cannot be written. Then there is no result.
        """
        if self.read_only:
            raise StoreError(
                "the store is read-only", where=self.root, hint="build without --from-store-only, or with another store"
            )
        self.hold()
        if not isinstance(files, Mapping):
            folder = os.fspath(files)
            files = {path: f"{folder}/{path}" for path in sorted(walk(folder))}
        inlined: dict[str, bytes] = {}
        digests = known or {}
        taken = {
            path: outputs.ingest(path, os.fspath(file), inlined, self.blobs, known=digests.get(path))
            for path, file in files.items()
        }
        for path, (file, digest) in (linked or {}).items():
            taken[path] = outputs.ingest_link(path, os.fspath(file), inlined, self.blobs, digest)
        printed = None if log is None else outputs.ingest_log(os.fspath(log), inlined, self.blobs)
        complete = replace(record, outputs=taken, small=inlined, log=printed)
        self.blobs.flush()
        self.records.put(complete)
        if (outgoing := self.outgoing()) is not None:
            outgoing.send(complete)
        return complete

    def materialise(
        self,
        record: ActionResult,
        target_root: StrPath,
        previous: Iterable[str] = (),
        stat_cache: StatCache | None = None,
        *,
        link: bool = False,
        scratch: StrPath | None = None,
    ) -> outputs.Placed:
        """Make the tree hold a result's outputs; see `outputs.place`, and with a scratch directory `publish`.

        Raises:
            BlobMissing: a blob is gone since `lookup`; the action must run.
            StoreError: the tree cannot be written.
        """
        root, known = os.fspath(target_root), stat_cache or StatCache()
        if scratch is not None:
            return publish(record, root, previous, known, self.blobs, link=link, scratch=os.fspath(scratch))
        return outputs.place(record, root, previous, known, self.blobs, link=link)

    def exclusive(self) -> None:
        """Become the only user of the store, until `close`: for `gc`.

        Raises:
            StoreError: another process uses it.
        """
        self.hold()
        if self._shared is None:
            raise StoreError("the store is read-only", where=self.root, hint="make it writable for you")
        if not is_alone(self._shared):
            fcntl.flock(self._shared, fcntl.LOCK_SH)  # a failed conversion may have lost the shared lock as well
            raise StoreError("another doit is using the store", where=self.root, hint="wait for it to end")

    def close(self) -> None:
        """Finish uploads, write down what was learnt, let go of all files."""
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None
        if self.remote is not None:
            self.remote.close()
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None
        self.blobs.close()
        with self._lock:
            if self._shared is not None:
                os.close(self._shared)
                self._shared = None

    def _downloads(self) -> Incoming | None:
        """What brings things from the remote store; None where there is none to read from."""
        if self._incoming is None and self.remote is not None and not self.read_only:
            from .incoming import Incoming  # noqa: PLC0415 - only who has a remote store pays for the import

            with self._lock:
                self._incoming = self._incoming or Incoming(self.remote, self.blobs)
        return self._incoming

    def hold(self, *, create: bool = True) -> None:
        """Hold the store's lock with all others who use it, until `close`: `gc` takes nothing away from under us.

        Without `create`, no store is made where there is none: nothing can be taken away then.

        Raises:
            StoreError: it cannot be written.
        """
        path = f"{self.root}/lock"
        with self._lock:
            if self._shared is not None:
                if os.path.lexists(path):
                    return
                os.close(self._shared)  # somebody has deleted the store under us
                self._shared = None
            try:
                if create:
                    if not Path(self.root).is_dir() and Path(self.top, "records").is_file():
                        self.note(f"{self.top} has results of an earlier version, which nothing reads: delete them")
                    Path(self.root).mkdir(parents=True, exist_ok=True)
                    tag_cache(self.top)
                fd = open_lock(path, os.O_RDONLY | (0 if self.read_only else os.O_CREAT))
                if not self.read_only:
                    sweep(self.top, self.root, self.blobs.part, age=0 if is_alone(fd) else STALE_SECONDS)
                fcntl.flock(fd, fcntl.LOCK_SH)
            except OSError as error:
                if create:
                    raise store_error(error, "write to the store", path) from error
                return  # nothing there yet, or read-only: then nobody can take anything away
            self._shared = fd
