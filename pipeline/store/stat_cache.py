"""Digests of files by their state: a file is read again only when its size, times or inode say that it may differ.

The engine asks for the digests of inputs here and the store for those of outputs. A file changed with its mtime kept
(`cp -p`, tar) has another ctime or inode. A file that changed a tick of the file system's clock ago is read but not
remembered, unless we wrote and stamped it ourselves (quirk OS-4). The cache is one sealed file; a damaged
one is an empty one.
"""

from __future__ import annotations

import errno
import json
import marshal
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import StoreError
from pipeline.files import (
    NotRegularError,
    State,
    is_settled,
    is_stamped,
    open_regular,
    sha256_bytes,
    sha256_file,
    state_of,
)
from pipeline.files.below import below
from pipeline.files.sealed import read_sealed, write_sealed

from .os_errors import StrPath, store_error

FORMAT = 2
ATTEMPTS = 3
"""How often a file that changes while it is read is read again."""


class Row(NamedTuple):
    """A file of a directory, as the canonical manifest has it."""

    path: str
    executable: bool
    size: int
    sha256: str


def canonical(value: object) -> bytes:
    """Canonical JSON, over which all digests of documents are made: sorted keys, no spaces, UTF-8.

    File names that are not UTF-8 arrive as lone surrogates and keep them.

    Raises:
        ValueError, TypeError: JSON cannot carry the value.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it contains itself, or is nested too deeply") from error
    return text.encode("utf-8", "surrogatepass")


class StatCache:
    """Digests of files, across runs. Methods may be called from any thread: at worst two of them read the same file.

    Without a path it is kept in memory only.
    """

    def __init__(self, path: StrPath | None = None) -> None:
        self._path = path
        self._before: dict[str, tuple[State, str]] = {} if path is None else _load(path)
        self._now: dict[str, tuple[State, str]] = {}
        self._changed = False

    def digest(self, path: StrPath) -> str:
        """SHA-256 of a file's content, or of the canonical manifest of a directory, in hex.

        Raises:
            StoreError: nothing is there, it cannot be read, or it keeps changing.
        """
        name = os.fspath(path)
        try:
            found = os.stat(name)
            if stat.S_ISDIR(found.st_mode):
                return sha256_bytes(canonical(self.manifest(name)))
        except OSError as error:
            raise _unreadable(error, name) from error
        return self.known(name, state_of(found)) or self.file(name)

    def file(self, path: StrPath) -> str:
        """SHA-256 of the content of a regular file, in hex; symlinks are followed.

        Raises:
            StoreError: it is missing, not a regular file, cannot be read, or keeps changing while it is read.
        """
        name = os.fspath(path)
        try:
            for _ in range(ATTEMPTS):
                now = time.time_ns()
                with open_regular(name) as file:
                    before = os.fstat(file.fileno())
                    if known := self.known(name, state_of(before)):
                        return known
                    sha256 = sha256_file(file)
                    after = os.fstat(file.fileno())
                if state_of(before) == state_of(after):
                    if is_settled(state_of(before), now):
                        self.remember(name, state_of(before), sha256)
                    return sha256
        except OSError as error:
            raise _unreadable(error, name) from error
        raise StoreError(
            "keeps changing while it is read", where=name, hint="let whoever writes it finish, then run doit"
        )

    def manifest(self, path: StrPath) -> list[Row]:
        """Every file below a directory, sorted by its relative posix path. Empty directories do not count.

        What a symlink leads to counts as if it were in its place: whoever reads the directory reads that.

        Raises:
            StoreError: something cannot be read, or is neither file nor directory; a symlink goes in a circle.
        """
        root = os.fspath(path)
        try:
            return sorted(self._row(root, name) for name in below(root) if not name.endswith("/"))
        except OSError as error:
            raise _unreadable(error, error.filename or root) from error

    def known(self, path: str, state: State) -> str | None:
        """The digest of a file in this state, when it is remembered."""
        found = self._now.get(path)
        if found is None:
            found = self._before.get(path)
            if found is not None:
                self._now[path] = found
        return found[1] if found is not None and found[0] == state else None

    def remember(self, path: str, state: State, sha256: str) -> None:
        """Note the digest of a file that we wrote and stamped ourselves, or found unchanged but for its ctime.

        Where the file system rounds our stamp, only once that is old: until then it is read again.
        """
        if is_stamped(state, time.time_ns()):
            self._now[path] = (state, sha256)
            self._changed = True

    def forget(self, path: str) -> None:
        """Read the file the next time, whatever its state says."""
        self._now.pop(path, None)
        self._before.pop(path, None)
        self._changed = True

    def save(self) -> None:
        """Write it when there is something new in it. Files that were not asked for since are forgotten by and by."""
        if self._path is None or not self._changed:
            return
        old = {} if len(self._before) > 2 * len(self._now) + 10_000 else self._before
        write_sealed(Path(self._path), marshal.dumps((FORMAT, {**old, **self._now})))
        self._changed = False

    def _row(self, root: str, name: str) -> Row:
        path = f"{root}/{name}"
        found = os.stat(path)
        sha256 = self.known(path, state_of(found)) or self.file(path)
        return Row(name, bool(found.st_mode & 0o111), found.st_size, sha256)


def walk(root: str) -> list[str]:
    """The relative posix paths of everything below a directory that is not a directory, in no order.

    Raises:
        StoreError: a directory cannot be read.
    """
    found: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(f"{root}/{prefix}" if prefix else root) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{prefix}{entry.name}/")
                    else:
                        found.append(prefix + entry.name)
        except OSError as error:
            raise _unreadable(error, f"{root}/{prefix}") from error
    return found


def _load(path: StrPath) -> dict[str, tuple[State, str]]:
    body = read_sealed(Path(path))
    try:
        form, rows = marshal.loads(body) if body is not None else (FORMAT, {})  # noqa: S302 - ours, and its checksum is right
    except (ValueError, EOFError, TypeError):
        return {}
    return rows if form == FORMAT else {}


def _unreadable(error: OSError, path: str) -> StoreError:
    if isinstance(error, FileNotFoundError) and os.path.islink(path):
        return StoreError(
            "is a link to a place where nothing is", where=path, hint="restore the file, or remove the link"
        )
    if error.errno == errno.ELOOP:
        return StoreError("is a link that goes in a circle", where=path, hint="remove the link")
    if isinstance(error, NotRegularError) or error.errno == errno.ENXIO:  # what is said of a socket
        hint = "an input is files and directories: remove it, or have it made elsewhere"
        return StoreError("is not a regular file, but a pipe, a socket or a device", where=path, hint=hint)
    if isinstance(error, FileNotFoundError):
        return StoreError("there is no such file", where=path, hint="restore it, or correct the name that asks for it")
    return store_error(error, "read", path)
