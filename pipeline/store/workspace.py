"""What this tree's `build/` and `dist/` hold: for every action the key its outputs were made with, and their digests.

The engine asks here whether an action is up to date, and sets an entry the moment an action ends. It is a table of
SQLite, which survives a kill at any moment. Every row carries a checksum: a damaged one is dropped with a note, which
is safe, because outputs are always compared with the digests of the entry that is left, and the store can restore them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import stat
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import StoreError

from .action_result import Output
from .os_errors import Note, StrPath, store_error
from .stat_cache import canonical

FORMAT = 1
PATIENCE = 60.0
"""Seconds that one process waits for another that writes."""

SCHEMA = "CREATE TABLE IF NOT EXISTS entries (name BLOB PRIMARY KEY, entry BLOB) WITHOUT ROWID"
FULL_DISK_BYTES = 1 << 20
"""Free bytes below which an error of SQLite, which has no better word for it, is reported as a full disk."""
MAPPED_BYTES = 1 << 16
"""Free bytes below which the table is not opened for writing: SQLite maps 32 KiB of a file beside it."""


@dataclass(frozen=True)
class Entry:
    """What the tree holds of one action.

    Attributes:
        key: of the action that made the outputs; empty where the action was only ignored.
        out: the directory they are in, relative to the root of the tree.
        outputs: relative posix path -> output.
        seconds: how long the action took when it ran.
        peak: bytes of memory it needed.
        forgotten: the user wants it done again (`doit forget`).
        ignored: the user wants it left alone (`doit ignore`).
        facts: what the step reported; the store may be gone, and a proof is read here.
        remote: its outputs are not in the tree: nothing has read them, so they stayed in the remote store.
    """

    key: str
    out: str
    outputs: Mapping[str, Output]
    seconds: float = 0.0
    peak: int = 0
    forgotten: bool = False
    ignored: bool = False
    facts: Mapping[str, object] = field(default_factory=dict)
    remote: bool = False

    @property
    def in_tree(self) -> Mapping[str, Output]:
        """The outputs that are in the tree: all or none."""
        return {} if self.remote else self.outputs


_NEVER = Entry(key="", out="", outputs={})


class Workspace:
    """The state of one tree for one matrix file, made when something is first set. May be called from any thread."""

    def __init__(self, path: StrPath, note: Note | None = None) -> None:
        self.path = os.fspath(path)
        self.notes: list[str] = []
        self._note = note or self.notes.append
        self._entries: dict[str, Entry | bytes] = {}
        self._lock = threading.RLock()
        self._table: sqlite3.Connection | None = None
        self.refresh()

    @property
    def files(self) -> tuple[str, str]:
        """The files whose states tell whether anything was set: the table, and SQLite's log beside it."""
        return self.path, f"{self.path}-wal"

    def refresh(self) -> None:
        """Read what other processes have set: call it once the tree is locked.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._lock:
            self._entries = {}
            if os.path.lexists(self.path) and not stat.S_ISREG(os.lstat(self.path).st_mode):
                self._start_over()  # SQLite would wait for a pipe, and write where a link leads
            if not Path(self.path).exists():
                self._close()
                return
            try:
                self._entries = self._rows()
            except (sqlite3.DatabaseError, AttributeError, UnicodeDecodeError):
                self._start_over()

    def get(self, name: str) -> Entry | None:
        """What the tree holds of an action; None when it was never built here (being ignored alone does not count)."""
        entry = self._entry(name)
        return entry if entry is not None and entry.key else None

    def set(self, name: str, entry: Entry) -> None:
        """Note what the tree holds now; when this returns, it survives the death of this process.

        Raises:
            StoreError: it could not be written.
        """
        self._write(
            "INSERT INTO entries VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET entry = excluded.entry",
            (_utf8(name), _encode(name, entry)),
        )
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Drop an action: the tree holds nothing of it any more.

        Raises:
            StoreError: it could not be written.
        """
        self._write("DELETE FROM entries WHERE name = ?", (_utf8(name),))
        self._entries.pop(name, None)

    def forget(self, name: str) -> None:
        """Have the action done again, from nothing, at the next run; an ignored one is no longer ignored."""
        entry = self._entry(name)
        if entry is not None:
            self.set(name, replace(entry, forgotten=True, ignored=False))

    def ignore(self, name: str, *, on: bool = True) -> None:
        """Leave the action alone until it is forgotten. It need not have been built."""
        self.set(name, replace(self._entry(name) or _NEVER, ignored=on))

    def ignored(self, name: str) -> bool:
        """Whether the user wants the action left alone."""
        entry = self._entry(name)
        return entry is not None and entry.ignored

    def names(self) -> list[str]:
        """The actions that the tree holds outputs of."""
        return [name for name in list(self._entries) if self.get(name) is not None]

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._close()

    def _entry(self, name: str) -> Entry | None:
        found = self._entries.get(name)
        if not isinstance(found, Entry) and found is not None:
            decoded = _decode(name, found)
            if decoded is None:
                self._note(f"the entry of {name} in {self.path} was damaged and is dropped")
                self._entries.pop(name, None)
                return None
            found = self._entries[name] = decoded
        return found

    def _rows(self) -> dict[str, Entry | bytes]:
        """All entries; where nothing can be written, not even SQLite's files beside the table, from the table alone."""
        query = "SELECT name, entry FROM entries"
        try:
            rows = self._connected().execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if self._obstacle() is None:
                raise
            try:
                uri = f"file:{quote(self.path)}?immutable=1"
                with contextlib.closing(sqlite3.connect(uri, uri=True)) as table:
                    rows = table.execute(query).fetchall()
            except sqlite3.OperationalError:
                raise self._error("read", error) from error
        return {name.decode("utf-8", "surrogatepass"): entry for name, entry in rows}

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            try:
                try:
                    self._connected().execute(statement, values)
                except sqlite3.DatabaseError as error:
                    if isinstance(error, sqlite3.OperationalError):
                        raise
                    self._start_over()
                    self._connected().execute(statement, values)
            except (sqlite3.Error, OSError) as error:
                raise self._error("write", error) from error

    def _connected(self) -> sqlite3.Connection:
        """The table, made if need be. The log in front of it (WAL) makes a set cheap, and a kill harmless."""
        if not os.path.exists(self.path):
            self._close()  # deleted under us
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        ends = time.monotonic() + PATIENCE
        while self._table is None:
            try:
                self._table = self._opened()
            except sqlite3.OperationalError as error:
                # Of two that make the table at a time, SQLite turns one away and does not let it wait.
                if "locked" not in str(error) or time.monotonic() > ends:
                    raise
                time.sleep(0.01)
        return self._table

    def _opened(self) -> sqlite3.Connection:
        if shutil.disk_usage(Path(self.path).parent).free < MAPPED_BYTES:  # see quirk OS-13
            raise sqlite3.OperationalError(os.strerror(errno.ENOSPC))
        table = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=PATIENCE)
        try:
            if os.access(self.path, os.W_OK):
                table.execute("PRAGMA journal_mode = WAL")
                table.execute("PRAGMA synchronous = NORMAL")
                table.execute(SCHEMA)
        except sqlite3.Error:
            table.close()
            raise
        return table

    def _start_over(self) -> None:
        """A damaged table is an empty one."""
        self._note(f"{self.path} was damaged and begins anew; outputs come back from the store")
        self._close()
        for path in (*self.files, f"{self.path}-shm"):
            with contextlib.suppress(OSError):
                Path(path).unlink()
        self._entries = {}

    def _close(self) -> None:
        if self._table is not None:
            with contextlib.suppress(sqlite3.Error):
                self._table.close()
            self._table = None

    def _error(self, doing: str, error: Exception) -> StoreError:
        number = errno.EISDIR if Path(self.path).is_dir() else self._obstacle()
        if number is not None:
            error = OSError(number, os.strerror(number))
        return store_error(error if isinstance(error, OSError) else OSError(str(error)), doing, self.path)

    def _obstacle(self) -> int | None:
        """What the operating system has against writing, which SQLite does not hand on: an error number."""
        folder = Path(self.path).parent
        if not all(os.access(path, os.R_OK | os.W_OK) for path in (folder, self.path) if Path(path).exists()):
            return errno.EACCES
        return errno.ENOSPC if folder.exists() and shutil.disk_usage(folder).free < FULL_DISK_BYTES else None


def workspaces(build: Path, note: Note) -> Iterator[Workspace]:
    """The workspaces of all matrix files of a tree."""
    tables = (path for path in sorted(build.glob("workspace-*")) if not path.name.endswith(("-wal", "-shm")))
    return (Workspace(path, note) for path in tables)


def _encode(name: str, entry: Entry) -> bytes:
    body = canonical([FORMAT, *vars(entry).values()])
    return _checksum(name, body) + body


def _decode(name: str, data: bytes) -> Entry | None:
    try:
        if data[:4] != _checksum(name, data[4:]):
            return None
        form, key, out, outputs, *rest = json.loads(data[4:])
        if form != FORMAT:
            return None
        return Entry(key, out, {path: Output(*output) for path, output in outputs.items()}, *rest)
    except (ValueError, TypeError, AttributeError):
        return None


def _checksum(name: str, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(_utf8(name))).to_bytes(4, "little")


def _utf8(name: str) -> bytes:
    """A name as the table has it; file names that are not UTF-8 arrive as lone surrogates."""
    return name.encode("utf-8", "surrogatepass")
