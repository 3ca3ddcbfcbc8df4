# ruff: noqa: PTH103, PTH105, PTH108, PTH115, PTH116, PTH120, PTH123
# Paths are strings in here: this is called for every file, and pathlib costs more than the work.
"""What is in a file, remembered: a file is read again only when its size, times or inode say that it may have changed.

`run` asks for the digests of inputs here and the store for those of outputs. A file changed with its mtime kept (`cp
-p`, tar) has another ctime or inode and is noticed; a file that was only touched is read once more and found to be
the same.

Racily clean files: a timestamp is a tick of the kernel's coarse clock (1-10 ms; ext4, xfs, btrfs and APFS keep
nanoseconds of it), so a file written twice within a tick looks the same after the second time. Hence a file whose
ctime is less than `RACY` old is read, but not remembered. Every write sets the ctime, so nothing else needs to be
looked at. Files that we wrote ourselves have been given an mtime of full precision (`stamp`): any later write puts a
tick in its place, so they can be remembered at once.

The memo is one file, with a checksum over all of it; a damaged one is as good as none. This module knows files, not
actions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple

from pipeline.doit_plugin.mapped import content
from pipeline.errors import StoreError

from .os_errors import StrPath, store_error

RACY = 20_000_000
"""Nanoseconds; twice the coarsest tick (HZ=100)."""

MAGIC = b"slipway digests 1 " + sys.byteorder.encode() + b"\n"
CHUNK = 1 << 20
ATTEMPTS = 3
_MASK = (1 << 64) - 1
_KEEP = 50_000


State = tuple[int, int, int, int]
"""Size, mtime (ns), inode, ctime (ns) of a file: while all four are the same, so is its content."""


class Row(NamedTuple):
    """A file of a directory, as the canonical manifest has it. The digest of a symlink is `link:` and its target."""

    path: str
    executable: bool
    size: int
    sha256: str


def hash_file(file: BinaryIO) -> str:
    """SHA-256 of what is left to read of a binary file, in hex."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    while count := file.readinto(buffer):  # type: ignore[attr-defined] # every raw and buffered reader has it
        digest.update(buffer[:count])
    return digest.hexdigest()


def canonical(value: object) -> bytes:
    """Canonical JSON, over which all digests of documents are made: sorted keys, no spaces, UTF-8.

    File names that are not UTF-8 arrive as lone surrogates and keep them.

    Raises:
        ValueError, TypeError: JSON cannot carry the value.
    """
    try:
        return "".join(_encoded(value, 0)).encode("utf-8", "surrogatepass")
    except RecursionError:
        raise ValueError("it contains itself, or is nested too deeply") from None


def _make_encoder() -> Callable[[object, int], Iterable[str]]:
    """What gives the parts of the text of a value.

    CPython's, in C, where it is there: `encode` makes a new one of these each time, as long as a short document takes.
    """
    pattern = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: pattern.iterencode(value)
    write = json.encoder.encode_basestring
    made: Callable[[object, int], Iterable[str]] = make(
        None,
        pattern.default,
        write,
        None,
        ":",
        ",",
        True,
        False,
        False,
    )
    return made


_encoded = _make_encoder()


def stamp(target: int | StrPath) -> int:
    """Give a file that is ours an mtime that no other write can leave (see above): now, in ns, which is returned."""
    now = time.time_ns()
    os.utime(target, ns=(now, now))
    return now


class StatCache:
    """Digests of files, across runs.

    Methods may be called from any thread: at worst two of them read the same file. Paths are remembered as given.

    Args:
        path: where the memo is kept; None keeps it in memory only.
    """

    def __init__(self, path: StrPath | None = None) -> None:
        self._path = None if path is None else os.fspath(path)
        self._new: dict[str, tuple[State, str]] = {}
        self._used: set[str] = set()
        self._index: dict[str, int] = {}
        self._states = array("Q")
        self._digests = bytearray()
        self._names: memoryview | None = None
        if self._path is not None:
            self._load(self._path)

    def digest(self, path: StrPath) -> str:
        """SHA-256 of a file's content, or of the canonical manifest of a directory, in hex.

        Raises:
            StoreError: nothing is there, it cannot be read, or it keeps changing.
        """
        name = os.fspath(path)
        try:
            state = os.stat(name)
            if stat.S_ISDIR(state.st_mode):
                return hashlib.sha256(canonical(self.manifest(name))).hexdigest()
        except OSError as error:
            raise _unreadable(error, name) from error
        return self.peek(name, state) or self.file(name)

    def file(self, path: StrPath) -> str:
        """SHA-256 of the content of a regular file, in hex; symlinks are followed.

        Raises:
            StoreError: it is missing, not a regular file, cannot be read, or keeps changing while it is read.
        """
        name = os.fspath(path)
        try:
            for _ in range(ATTEMPTS):
                now = time.time_ns()
                with open(name, "rb", buffering=0, opener=_opener) as file:
                    before = os.fstat(file.fileno())
                    if not stat.S_ISREG(before.st_mode):
                        raise StoreError("is not a regular file", where=name, hint="name a file or a directory")
                    if known := self.peek(name, before):
                        return known
                    small = before.st_size < CHUNK
                    sha256 = hashlib.sha256(file.readall()).hexdigest() if small else hash_file(file)
                    after = os.fstat(file.fileno())
                if _identity(before) == _identity(after):
                    if before.st_ctime_ns + RACY < now:
                        self._new[name] = (_identity(before), sha256)
                    return sha256
        except OSError as error:
            raise _unreadable(error, name) from error
        raise StoreError(
            "keeps changing while it is read", where=name, hint="let whoever writes it finish, then run doit"
        )

    def manifest(self, path: StrPath) -> list[Row]:
        """Every file below a directory, sorted by its relative posix path. Empty directories do not count.

        Raises:
            StoreError: something cannot be read, is neither file, directory nor symlink, or a symlink leads outside.
        """
        root = os.fspath(path)
        rows = [self._row(root, name) for name in walk(root)]
        rows.sort()
        return rows

    def peek(self, path: str, state: os.stat_result) -> str | None:
        """The digest of a file in this state, when it is known by heart."""
        identity = _identity(state)
        new = self._new.get(path)
        if new is not None:
            return new[1] if new[0] == identity else None
        i = self._index.get(path)
        if i is None or tuple(self._states[4 * i : 4 * i + 4]) != identity:
            return None
        self._used.add(path)
        return self._digests[32 * i : 32 * i + 32].hex()

    def placed(self, path: str, sha256: str) -> State | None:
        """The state that a file had when this process found, or put, that content there."""
        new = self._new.get(path)
        return new[0] if new is not None and new[1] == sha256 else None

    def knows(self, files: Iterable[tuple[str, str]], here: str = "") -> bool:
        """Whether all these files are there and known by heart to have these digests. An archive asks of a thousand.

        Args:
            files: (path, digest).
            here: what all the paths begin with, where that is the working directory: the shorter a path is, the sooner
                the kernel has found it.
        """
        stat, index, states, digests, new = os.stat, self._index, self._states, self._digests, self._new
        used, cut = self._used.add, len(here)
        try:
            for path, sha256 in files:
                now = stat(path[cut:])
                row = new.get(path)
                if row is not None:
                    if row[1] != sha256 or row[0] != _identity(now):
                        return False
                    continue
                i = index.get(path)
                if i is None or digests[32 * i : 32 * i + 32].hex() != sha256:
                    return False
                i *= 4
                if (
                    states[i] != now.st_size
                    or states[i + 1] != now.st_mtime_ns
                    or states[i + 2] != now.st_ino
                    or states[i + 3] != now.st_ctime_ns
                ):
                    return False
                used(path)
        except OSError:
            return False
        return True

    def remember(self, path: str, state: os.stat_result, sha256: str) -> None:
        """Note the digest of a file that we wrote and stamped ourselves, or found unchanged but for its ctime."""
        self._new[path] = (_identity(state), sha256)

    def learn(self, path: str, state: State, sha256: str) -> None:
        """Note what another process knows by heart: see `placed`."""
        self._new[path] = (state, sha256)

    def forget(self, path: str) -> None:
        """Read the file the next time, whatever its state says."""
        self._new.pop(path, None)
        self._index.pop(path, None)

    def save(self) -> None:
        """Write it, atomically, when there is something new in it. Failing to is no error: it only costs time."""
        if self._path is None or not self._new:
            return
        new, self._new = self._new, {}
        if len(self._index) > max(_KEEP, 4 * (len(self._used) + len(new))):
            self._keep(self._used & self._index.keys())
        elif 4 * len(self._index) < len(self._states):
            self._keep(self._index)
        index, states, digests = self._index, self._states, self._digests
        known = len(index)
        for path, (identity, sha256) in new.items():
            i = index.setdefault(path, len(index))
            states[4 * i : 4 * i + 4] = array("Q", identity)
            digests[32 * i : 32 * i + 32] = bytes.fromhex(sha256)
        if self._names is None or len(index) != known:
            self._names = memoryview("\0".join(index).encode("utf-8", "surrogatepass"))
        # One after the other: together they are a megabyte that nobody has touched, which takes longer than the rest.
        parts = (struct.pack("=QQ", len(index), len(self._names)), self._names, states, digests)
        checksum = hashlib.sha256()
        for part in parts:
            checksum.update(part)
        temporary = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            with open(temporary, "wb") as file:
                file.writelines([MAGIC, checksum.digest(), *parts])
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _keep(self, paths: Iterable[str]) -> None:
        """Forget all others, so that rows are as the index has them: one after the other, in its order."""
        rows = [(path, self._index[path]) for path in paths]
        states, digests = array("Q"), bytearray()
        for _, i in rows:
            states.extend(self._states[4 * i : 4 * i + 4])
            digests += self._digests[32 * i : 32 * i + 32]
        self._adopt([path for path, _ in rows], states, digests)

    def _load(self, path: str) -> None:
        """Read the memo; one that is damaged, of another version or another kind of machine is an empty one."""
        data, head = content(path), len(MAGIC) + 32
        if data is None or data[: len(MAGIC)] != MAGIC or len(data) < head + 16:
            return
        body = data[head:]
        if data[len(MAGIC) : head] != hashlib.sha256(body).digest():
            return
        count, length = struct.unpack("=QQ", body[:16])
        end = 16 + length + 32 * count
        names = body[16 : 16 + length]
        paths = str(names, "utf-8", "surrogatepass").split("\0") if count else []
        if len(body) == end + 32 * count and len(paths) == count:
            states = array("Q")
            states.frombytes(body[16 + length : end])
            self._adopt(paths, states, bytearray(body[end:]), names)

    def _adopt(self, paths: list[str], states: array[int], digests: bytearray, names: memoryview | None = None) -> None:
        self._index = dict(zip(paths, range(len(paths)), strict=True))
        self._states, self._digests, self._names = states, digests, names

    def _row(self, root: str, name: str) -> Row:
        path = f"{root}/{name}"
        try:
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                target = os.readlink(path)
                if not stays_inside(name, target):
                    raise StoreError(
                        f"leads outside its directory, to {target}",
                        where=path,
                        hint="copy what it points to in its place",
                    )
                return Row(name, executable=False, size=len(os.fsencode(target)), sha256=f"link:{target}")
        except OSError as error:
            raise _unreadable(error, path) from error
        return Row(name, bool(state.st_mode & 0o111), state.st_size, self.peek(path, state) or self.file(path))


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


def stays_inside(name: str, target: str) -> bool:
    """Whether a symlink at this relative path leads to a place below the directory that the path is relative to.

    `..` may only come first: after a name that is itself a symlink nobody can tell where it leads.
    """
    parts = target.split("/")
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and "\0" not in target and parts[0] != "" and ups <= name.count("/") and ".." not in parts[ups:]


def _identity(state: os.stat_result) -> State:
    return (state.st_size, state.st_mtime_ns & _MASK, state.st_ino & _MASK, state.st_ctime_ns & _MASK)


def _opener(path: str, flags: int) -> int:
    # A FIFO that nobody writes to would otherwise be waited for.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _unreadable(error: OSError, path: str) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError("there is no such file", where=path, hint="restore it, or correct the name that asks for it")
    return store_error(error, "read", path)
