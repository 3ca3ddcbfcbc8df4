"""What this tree's `build/` and `dist/` hold: for every action the key its outputs were made with, and their digests.

`run` asks here whether an action is fresh, and sets an entry the moment an action ends. It is a journal (`journal`
says what that survives); of several lines about one action the last one counts. A damaged line is dropped with a
note: that is safe, because outputs are always compared with the digests of the entry that is left, and the store can
restore them all.

The workspace is read at every run that is not a no-op, so a line is split only when someone asks for that action.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import StoreError

from .action_cache import Output
from .journal import Journal, unseal
from .os_errors import Note, StrPath
from .stat_cache import canonical

COMPACT = 1 << 16
"""Bytes below which a workspace is not worth rewriting."""


class Entry(NamedTuple):
    """What the tree holds of one action; a tuple, because a graph has tens of thousands.

    Attributes:
        key: of the action that made the outputs.
        out: the directory they are in, relative to the root of the tree.
        outputs: relative posix path -> output.
        seconds: how long the action took when it ran.
        peak: bytes of memory it needed.
        forgotten: the user wants it done again (`doit forget`).
        ignored: the user wants it left alone (`doit ignore`).
    """

    key: str
    out: str
    outputs: dict[str, Output]
    seconds: float = 0.0
    peak: int = 0
    forgotten: bool = False
    ignored: bool = False


_NEVER = Entry(key="", out="", outputs={})


class Workspace:
    """The workspace of one tree. Methods may be called from any thread.

    Args:
        path: the file.
        note: gets a sentence when something in it was damaged.
    """

    def __init__(self, path: StrPath, note: Note | None = None) -> None:
        self.notes: list[str] = []
        self._note = note or self.notes.append
        self._journal = Journal(os.fspath(path))
        self._lines: dict[str, bytes] = {}
        self._total = 0
        self._damaged = 0
        self._later: list[bytes] = []
        self._has_learnt = False
        self._lock = threading.RLock()
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have added: call it once the tree is locked.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._lock:
            before = self._damaged
            self._journal.scan(self._take, self._reset)
            if self._damaged > before:
                self._note(f"{self._damaged - before} damaged line(s) of {self._journal.path} were dropped")

    def get(self, name: str) -> Entry | None:
        """What the tree holds of an action; None when it was never built here (being ignored alone does not count)."""
        entry = self._entry(name)
        return entry if entry is not None and entry.key else None

    def key(self, name: str) -> str | None:
        """The key of an action's entry, at a fraction of the price of `get`."""
        line = self._lines.get(name)
        return str(line[:64], "ascii") if line is not None and line[:1] != b"\t" else None

    def digests(self, name: str) -> dict[str, str] | None:
        """The digests of an action's outputs by path, at half the price of `get`: an archive may read a thousand."""
        line = self._lines.get(name)
        if line is None or line[:1] == b"\t":
            return None
        try:
            return {path: output[0] for path, output in json.loads(line.split(b"\t", 2)[2].decode())[1].items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def set(self, name: str, entry: Entry, *, later: bool = False) -> None:
        """Note what the tree holds now; when this returns, it survives the death of this process.

        Args:
            name: the action.
            entry: what the tree holds of it.
            later: it is enough when the next `flush` has returned.

        Raises:
            StoreError: it could not be written.
        """
        flags = b"%c%c" % (b"f"[0] if entry.forgotten else 45, b"i"[0] if entry.ignored else 45)
        rest = canonical([entry.out, entry.outputs, entry.seconds, entry.peak])
        self._write(name, b"%b\t%b\t%b" % (entry.key.encode(), flags, rest), later=later)

    def flush(self) -> None:
        """Write what was to be written later.

        Raises:
            StoreError: it could not be written; it is tried again the next time.
        """
        with self._lock:
            if self._later:
                self._journal.extend(self._later)
                if not self._has_learnt:  # else they are counted when `close` comes by them
                    self._total += len(self._later)
                self._later.clear()

    def line(self, name: str) -> bytes | None:
        """All there is about an action, for `learn` in another process."""
        return self._lines.get(name)

    def learn(self, name: str, line: bytes) -> None:
        """Another process, which has written it down, has set an action."""
        self._lines[name] = line
        self._has_learnt = True

    def reopen(self) -> None:
        """See `Journal.reopen`."""
        self._journal.reopen()

    def forget(self, name: str) -> None:
        """Have the action done again, from nothing, at the next run; an ignored one is no longer ignored."""
        entry = self._entry(name)
        if entry is not None:
            self.set(name, entry._replace(forgotten=True, ignored=False))

    def ignore(self, name: str, *, on: bool = True) -> None:
        """Leave the action alone until it is forgotten. It need not have been built."""
        self.set(name, (self._entry(name) or _NEVER)._replace(ignored=on))

    def ignored(self, name: str) -> bool:
        """Whether the user wants the action left alone."""
        line = self._lines.get(name)
        return line is not None and line.split(b"\t", 2)[1][1:2] == b"i"

    def remove(self, name: str) -> None:
        """Drop an action: the tree holds nothing of it any more.

        Raises:
            StoreError: it could not be written.
        """
        if name in self._lines:
            self._write(name, b"")

    def names(self) -> list[str]:
        """The actions that the tree holds outputs of."""
        return [name for name, line in self._lines.items() if line[:1] != b"\t"]

    def close(self) -> None:
        """Compact the file when most of it is history. Failing to is no error; `flush` before, where that matters."""
        with self._lock:
            with contextlib.suppress(StoreError):
                self.flush()
                if self._has_learnt:  # what the bookmark says was read must have been
                    self.refresh()
            size = self._journal.size()
            if size > COMPACT and self._total > 2 * len(self._lines):
                with contextlib.suppress(StoreError):
                    self._journal.rewrite(self._all)
                    self._total = len(self._lines)
            self._journal.bookmark(lambda: (self._lines, self._total))
            self._journal.close()

    def _entry(self, name: str) -> Entry | None:
        line = self._lines.get(name)
        if line is None:
            return None
        key, flags, rest = line.split(b"\t", 2)
        try:
            out, outputs, seconds, peak = json.loads(rest.decode())
            outputs = {path: Output(*output) for path, output in outputs.items()}
        except (ValueError, TypeError, AttributeError):
            return None
        return Entry(str(key, "ascii"), out, outputs, seconds, peak, flags[:1] == b"f", flags[1:2] == b"i")

    def _write(self, name: str, line: bytes, *, later: bool = False) -> None:
        with self._lock:
            self._later.append(_name(name) + b"\t" + line)
            if not later:
                try:
                    self.flush()
                except StoreError:
                    self._later.pop()
                    raise
            if line:
                self._lines[name] = line
            else:
                self._lines.pop(name, None)

    def _all(self) -> Iterator[bytes]:
        self.refresh()
        return (_name(name) + b"\t" + line for name, line in self._lines.items())

    def _take(self, _offset: int, line: bytes) -> None:
        payload = unseal(line)
        if payload is None or payload.count(b"\t") not in {1, 3}:
            self._damaged += 1
            return
        self._total += 1
        name, _, rest = payload.partition(b"\t")
        text = name.decode("unicode_escape" if b"\\" in name else "ascii")
        if rest:
            self._lines[text] = rest
        else:
            self._lines.pop(text, None)

    def _reset(self) -> None:
        self._lines, self._total = self._journal.resume() or ({}, 0)


def _name(name: str) -> bytes:
    """A name without tabs and newlines."""
    plain = name.isascii() and name.isprintable() and "\\" not in name  # as nearly all are: Python has no codec to load
    return name.encode("ascii" if plain else "unicode_escape")
