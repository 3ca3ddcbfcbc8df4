"""What finished actions left: for every key one record, which says all that went in and names all that came out.

A record carries a digest of itself, so that flipped bits are noticed wherever it comes from; one that is damaged is
reported, dropped, and the action simply runs again. Records live in one journal (`journal` says why), found by an
index of key -> place in the file; a record is parsed only when it is asked for.

Outputs of up to `SMALL` bytes travel inside the record. Most outputs of most actions are reports, flag files and
other text of a few hundred bytes, and creating a file for each of them in the store costs more than everything else
the store does.

The journal has a second kind of line, `<key> <unix seconds>`: that record was used, so `gc` should think it younger.
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

from pipeline.errors import StoreError

from .journal import HEAD, Journal, unseal
from .os_errors import Note
from .places import Places
from .stat_cache import canonical

FORMAT = 1
SMALL = 4096
"""Bytes up to which an output is kept inside its record."""
SMALL_TOTAL = 1 << 16
"""Bytes of such outputs in one record; what is beyond becomes blobs."""

FILE, PROGRAM, LINK = 0o644, 0o755, 0o120000
"""The modes an output can have. The content of a LINK is the target of the symlink."""

DAY = 86_400
HUGE = 1 << 60
_SHA256 = re.compile(r"[0-9a-f]{64}\Z").match
_KEY = slice(HEAD, HEAD + 64)


class Output(NamedTuple):
    """One file that an action made. A tuple and not a dataclass: there are tens of thousands of them."""

    sha256: str
    size: int
    mode: int = FILE


class ActionResult(NamedTuple):
    """A finished action. A tuple for the same reason.

    Attributes:
        key: SHA-256 of the canonical JSON of `fields`.
        name: the action, e.g. `compile:minilm-f32@ios-arm64`.
        fields: the whole key document.
        outputs: relative posix path -> output.
        facts: what the step reported.
        started: when it began, unix seconds.
        seconds: how long it took by the clock.
        cpu_seconds: what it cost.
        peak_bytes: resident memory of its largest process.
        host: the machine it ran on.
        log: digest of the blob with what its tools printed; None when they printed nothing.
        versions: what else was there, for people; not in the key.
        small: digest -> content of the outputs that the record carries itself.
        encoded: canonical JSON of `fields`, where whoever made the record has it: nobody has to make it again.
    """

    key: str
    name: str
    fields: Mapping[str, Any] = MappingProxyType({})
    outputs: Mapping[str, Output] = MappingProxyType({})
    facts: Mapping[str, Any] = MappingProxyType({})
    started: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    host: str = ""
    log: str | None = None
    versions: Mapping[str, str] = MappingProxyType({})
    small: Mapping[str, bytes] = MappingProxyType({})
    encoded: bytes | None = None

    def with_outputs(self, outputs: Mapping[str, Output], small: Mapping[str, bytes], log: str | None) -> ActionResult:
        """The same with what came out. `_replace` takes four times as long, and every action comes by."""
        return ActionResult(
            self.key, self.name, self.fields, outputs, self.facts, self.started, self.seconds, self.cpu_seconds,
            self.peak_bytes, self.host, log, self.versions, small, self.encoded,
        )  # fmt: skip

    def blobs(self) -> dict[str, int]:
        """Digest -> size of the outputs that are blobs of their own."""
        small = self.small
        return {o.sha256: o.size for o in self.outputs.values() if o.sha256 not in small}


def key_of(fields: Mapping[str, Any]) -> str:
    """The key that belongs to a key document: SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(fields)).hexdigest()


def encode(record: ActionResult) -> bytes:
    """A record as one line of JSON with its own digest in front.

    Raises:
        StoreError: JSON cannot carry its fields or facts.
    """
    # In parts, for the sake of `encoded`. Keys are sorted all the same.
    after = {
        "format": FORMAT,
        "key": record.key,
        "name": record.name,
        "outputs": _plain(record.outputs),
        "started": record.started,
        "seconds": record.seconds,
        "peak_bytes": record.peak_bytes,
        "host": record.host,
        "log": record.log,
        "versions": _plain(record.versions),
        "small": {sha256: binascii.b2a_base64(data, newline=False).decode() for sha256, data in record.small.items()},
    }
    try:
        fields = record.encoded or canonical(_plain(record.fields))
        facts = canonical(_plain(record.facts)) if record.facts else b"{}"
        cpu = canonical(record.cpu_seconds)
        body = b'{"cpu_seconds":%b,"facts":%b,"fields":%b,%b' % (cpu, facts, fields, canonical(after)[1:])
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the record of {record.name} cannot be written: {error}",
            hint="this is a mistake in its step: facts are JSON, and numbers in them are finite",
        ) from error
    return b'{"digest":"%b","record":%b}' % (hashlib.sha256(body).hexdigest().encode(), body)


def _plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder knows no other mapping."""
    return mapping if type(mapping) is dict else dict(mapping)


_BODY = len(b'{"digest":"","record":') + 64


def decode(data: bytes) -> ActionResult | None:
    """Read a record; None when anything about it is not as `encode` makes it, or unsafe to follow."""
    body = data[_BODY:-1]
    if data != b'{"digest":"%b","record":%b}' % (hashlib.sha256(body).hexdigest().encode(), body):
        return None
    try:
        document = json.loads(body)
        if document.pop("format") != FORMAT:
            return None
        document["outputs"] = {path: Output(*output) for path, output in document["outputs"].items()}
        document["small"] = {sha: binascii.a2b_base64(text) for sha, text in document["small"].items()}
        record = ActionResult(**document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return record if _is_sound(record) else None


def _is_sound(record: ActionResult) -> bool:
    """Whether a record can be acted upon. Its digest is right, but it may come from a machine that means us ill."""
    try:
        return (
            _SHA256(record.key) is not None
            and record.encoded is None
            and isinstance(record.name, str)
            and isinstance(record.fields, dict)
            and isinstance(record.facts, dict)
            and isinstance(record.host, str)
            and all(
                isinstance(n, int | float) and 0 <= n < HUGE
                for n in (record.started, record.seconds, record.cpu_seconds, record.peak_bytes)
            )
            and (record.log is None or _SHA256(record.log) is not None)
            and all(is_safe_path(path) and _is_output(output) for path, output in record.outputs.items())
            and not _nests(record.outputs)
            and all(hashlib.sha256(data).hexdigest() == sha256 for sha256, data in record.small.items())
        )
    except TypeError:
        return False


def is_safe_path(path: str) -> bool:
    """Whether a relative posix path stays below the directory it is joined to, and is written canonically."""
    return bool(path) and "\0" not in path and not any(part in {"", ".", ".."} for part in path.split("/"))


def _is_output(output: Output) -> bool:
    sha256, size, mode = output
    return _SHA256(sha256) is not None and type(size) is int and size >= 0 and mode in {FILE, PROGRAM, LINK}


def _nests(outputs: Mapping[str, Output]) -> bool:
    """Whether one output would have to be a directory for another: a symlink that it is written through, perhaps."""
    return any(str(parent) in outputs for path in outputs if "/" in path for parent in PurePosixPath(path).parents)


class ActionCache:
    """The records of one store directory. Methods may be called from any thread.

    Args:
        path: the journal.
        note: gets a sentence about each damaged record.
        read_only: nothing will be written.

    Attributes:
        patience: seconds for which `get` need not look whether other processes have added something.
    """

    def __init__(self, path: str, note: Note, *, read_only: bool = False) -> None:
        self._journal = Journal(path, read_only=read_only, what="a record")
        self._note = note
        self._read_only = read_only
        self._places = Places()
        self._uses: dict[str, float] = {}
        self._touched: set[str] = set()
        self._synced = 0.0
        self._looked = 0.0
        self._later: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self.patience = 0.0

    def refresh(self) -> None:
        """Look what other processes have added.

        Raises:
            StoreError: the journal cannot be read.
        """
        with self._lock:
            self._journal.scan(self._take, self._reset)
            self._looked = time.monotonic()

    def get(self, key: str) -> ActionResult | None:
        """The record of a key, or None. A damaged one is reported and dropped.

        Raises:
            StoreError: the journal cannot be read.
        """
        with self._lock:
            if key in self._later:
                self.flush()
            if time.monotonic() - self._looked > self.patience:
                self.refresh()
            place = self._places.get(key)
            if place is None:
                return None
            payload = unseal(self._journal.read(place >> 32, place & 0xFFFFFFFF))
            record = decode(payload[65:]) if payload is not None and payload[:64] == key.encode() else None
            if record is None or record.key != key:
                self._places.drop(key)
                self._note(f"the record {key[:12]}… was damaged; its action will run again")
                return None
        return record

    def put(self, record: ActionResult, *, encoded: bytes | None = None, later: bool = False) -> None:
        """Add a record; when this returns, it survives the death of this process, and within a second a power cut.

        Args:
            record: what to add.
            encoded: as `encode` gives it, where the caller has that.
            later: it is enough when the next `flush` has returned.

        Raises:
            StoreError: it could not be written.
        """
        payload = b"%b %b" % (record.key.encode(), encoded or encode(record))
        with self._lock:
            self._later[record.key] = payload
            if not later:
                try:
                    self.flush()
                except StoreError:
                    self._later.pop(record.key, None)
                    raise

    def flush(self) -> None:
        """Write what was to be written later.

        Raises:
            StoreError: it could not be written; it is tried again the next time.
        """
        with self._lock:
            if not self._later:
                return
            places = self._journal.extend(self._later.values())
            for key, (offset, length) in zip(self._later, places, strict=True):
                self._places.set(key, offset << 32 | length)
            self._later.clear()
            now = time.monotonic()
            if now - self._synced > 1:
                self._synced = now
                self._journal.sync()

    def reopen(self) -> None:
        """See `Journal.reopen`."""
        self._journal.reopen()

    def has(self, key: str) -> bool:
        """Whether there seems to be a record; `get` knows for sure."""
        with self._lock:
            self.refresh()
            return self._places.get(key) is not None or key in self._later

    def keys(self) -> list[str]:
        """The keys of all records, oldest first."""
        with self._lock:
            self.flush()
            self.refresh()
            return [key for key, _ in self._places.in_order()]

    def all(self) -> Iterator[ActionResult]:
        """All sound records, oldest first."""
        for key in self.keys():
            record = self.get(key)
            if record is not None:
                yield record

    def latest(self) -> dict[str, str]:
        """Action name -> key of its newest record. Reads everything: for plans and explanations in a fresh clone."""
        return {record.name: record.key for record in self.all()}

    def used(self, key: str) -> float:
        """When a record was last of use, unix seconds; 0 when that was never noted."""
        return self._uses.get(key, 0.0)

    def touch(self, key: str) -> None:
        """Note that a record was of use; written down by `close`, and no oftener than once a day."""
        self._touched.add(key)

    def drop(self, keys: Collection[str]) -> None:
        """Drop records; those that others have added meanwhile stay.

        Raises:
            StoreError: the journal could not be rewritten; then all stay.
        """
        with self._lock:
            self._journal.rewrite(lambda: self._remaining(keys))

    def size(self) -> int:
        """Bytes of the journal."""
        return self._journal.size()

    def note_uses(self) -> None:
        """Write down what was used, where that can be written."""
        now = time.time()
        with self._lock, contextlib.suppress(StoreError):
            self.flush()
            for key in () if self._read_only else sorted(self._touched):
                place = self._places.get(key)
                if place is not None and self._uses.get(key, 0.0) < now - DAY:
                    self._journal.append(b"%b %d" % (key.encode(), int(now)))
            self._touched.clear()

    def close(self) -> None:
        """Write down what was used, where that can be written, and let the file go."""
        self.note_uses()
        with self._lock:
            with contextlib.suppress(StoreError):
                self._journal.sync()
            self._journal.bookmark(lambda: (*self._places.packed(), self._uses))
            self._journal.close()

    def _remaining(self, dropped: Collection[str]) -> Iterator[bytes]:
        self.refresh()
        for key, place in self._places.in_order():
            payload = unseal(self._journal.read(place >> 32, place & 0xFFFFFFFF))
            if key not in dropped and payload is not None:
                yield payload
        for key, at in self._uses.items():
            if self._places.get(key) is not None and key not in dropped:
                yield b"%b %d" % (key.encode(), int(at))

    def _take(self, offset: int, line: bytes) -> None:
        if line[HEAD + 64 : HEAD + 66] == b" {":
            self._places.set(str(line[_KEY], "ascii", "replace"), offset << 32 | len(line))
        elif (payload := unseal(line)) is not None and payload[65:].isdigit():
            self._uses[str(payload[:64], "ascii", "replace")] = float(payload[65:])

    def _reset(self) -> None:
        table, more, self._uses = self._journal.resume() or (b"", {}, {})
        self._places = Places(table, more)
