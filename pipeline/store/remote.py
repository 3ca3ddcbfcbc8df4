"""The store of other machines, over HTTP by Bazel's cache protocol: `/cas/<sha256>` for bytes, `/ac/<key>` for records.

nginx with DAV and bazel-remote serve it (`docs/ci.md` shows how). `store` asks here when it misses, and sends here
what was built when SLIPWAY_REMOTE_WRITE=1 says so (CI; a laptop should read only). A remote that is down, slow, full
or lying never breaks a build: that is said once, and the build goes on without it. What it sends is believed only as
far as it can be checked: a blob must have the digest it was asked by, a record the key.

httpx is imported with the first request.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlunsplit

from pipeline.errors import StoreError
from pipeline.files import CHUNK_BYTES, write_new
from pipeline.transport.http import BUSY, Meter, Patience, TooSlow, redact, split_login, supervised

from .action_result import ActionResult, decode, key_of, pack, unpack
from .cas import EMPTY
from .os_errors import Note, store_error

if TYPE_CHECKING:
    import httpx

PATIENCE = Patience(attempts=3, first_wait=0.25, longest_wait=2.0, connect=5.0, read=30.0, grace=60.0, floor=4 << 10)
"""A cache that is slow is worth less than what it saves."""

RECORD_LIMIT = 64 << 20
"""Bytes above which a reply is no result of ours."""

ASKED_FIRST = 1 << 16
"""Bytes above which it is asked whether a blob is there before it is sent."""

_OK = 200
_MISS = {204, 404, 410}
_STORED = {200, 201, 202, 204}

_REFUSALS = {
    401: "status 401: set SLIPWAY_REMOTE_TOKEN, or SLIPWAY_REMOTE_USER and SLIPWAY_REMOTE_PASSWORD",
    403: "status 403: these credentials may not write",
    405: "status 405: the server does not allow PUT",
    413: "status 413: the server's limit of a body's size is too low",
    507: "status 507: the server's disk is full",
}

T = TypeVar("T")


class _Busy(Exception):
    """A reply after which the same request may succeed."""


class _Trouble(Exception):
    """A request that came to nothing; carries why. The remote is given up for it."""


class Remote:
    """A remote store. Methods may be called from any thread, raise nothing, and do nothing once the remote is given up.

    Args:
        url: base of the two directories, e.g. `https://cache.example.org/slipway`; may carry `user:password@`.
        note: gets one sentence when the remote is given up, or refuses to be written.
        write: whether `publish` sends anything.
        token: for `Authorization: Bearer`.
        user: for basic authentication, with `password`; else from the URL, else from ~/.netrc.
        password: see `user`.
        patience: how long to try.

    Raises:
        StoreError: the URL is not one of http or https, or the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        note: Note,
        *,
        write: bool = False,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        try:
            parts, login = split_login(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # its text quotes the URL, password and all
            usable = False
        if not usable:
            raise StoreError(
                "SLIPWAY_REMOTE is not a URL of http or https", hint="e.g. https://cache.example.org/slipway"
            )
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise StoreError(
                "SLIPWAY_REMOTE_TOKEN has a space, a line feed or another odd character", hint="correct it"
            )
        self.write = write
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._host = parts.hostname or ""
        self._note = note
        self._token = token
        self._login = (user, password or "") if user else login
        self._patience = patience
        self._given_up = False
        self._sent: set[str] = set()
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls, note: Note, environ: Mapping[str, str] = os.environ) -> Remote | None:
        """The remote store that SLIPWAY_REMOTE names, or None.

        SLIPWAY_REMOTE_WRITE=1 allows writing; SLIPWAY_REMOTE_TOKEN, or SLIPWAY_REMOTE_USER and SLIPWAY_REMOTE_PASSWORD,
        authenticate.

        Raises:
            StoreError: it is not a URL.
        """
        url = environ.get("SLIPWAY_REMOTE")
        if not url:
            return None
        return cls(
            url,
            note,
            write=environ.get("SLIPWAY_REMOTE_WRITE") == "1",
            token=environ.get("SLIPWAY_REMOTE_TOKEN") or None,
            user=environ.get("SLIPWAY_REMOTE_USER") or None,
            password=environ.get("SLIPWAY_REMOTE_PASSWORD"),
        )

    def has(self, key: str) -> bool:
        """Whether the remote has a record of this key; its blobs are not looked for."""
        return self._attempt(lambda: self._send("HEAD", f"ac/{key}", _is_there), otherwise=False)

    def record(self, key: str) -> ActionResult | None:
        """The record of a key; None when there is none, or what there is cannot be believed."""
        return self._attempt(lambda: self._record(key), otherwise=None)

    def fetch(self, sha256: str, size: int, target: str) -> bool:
        """Download a blob into a new file; whether it is there now, with the digest that it should have.

        Raises:
            StoreError: the file cannot be written.
        """
        return self._attempt(lambda: self._fetch(sha256, size, target), otherwise=False)

    def publish(self, record: ActionResult, path_of: Callable[[str], str]) -> bool:
        """Send a record's blobs, then the record, so that nobody finds a record without its blobs; whether all arrived.

        Args:
            record: what to send.
            path_of: where the file of a blob is.
        """
        return self.write and self._attempt(lambda: self._publish(record, path_of), otherwise=False)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _attempt(self, work: Callable[[], T], *, otherwise: T) -> T:
        """Do something with the remote unless it was given up; give it up when it fails."""
        if self._given_up:
            return otherwise
        try:
            return work()
        except _Trouble as trouble:
            with self._lock:
                first, self._given_up = not self._given_up, True
            if first:
                self._note(f"remote store {self.url}: {self._hidden(str(trouble))}; going on without it")
            return otherwise

    def _record(self, key: str) -> ActionResult | None:
        body = self._send("GET", f"ac/{key}", lambda reply, meter: _body(reply, RECORD_LIMIT, meter))
        if body is None:
            return None
        encoded = unpack(body)
        record = None if encoded is None else decode(encoded)
        with contextlib.suppress(ValueError, RecursionError):  # numbers and depths that JSON can say and we never do
            if record is not None and record.key == key and key_of(record.fields) == key:
                return record
        raise _Trouble(f"its record {key[:12]}… is not what it should be")

    def _fetch(self, sha256: str, size: int, target: str) -> bool:
        if sha256 == EMPTY:  # servers treat it specially, each in its own way
            write_new(target, b"", 0o444)
            return True
        return self._send("GET", f"cas/{sha256}", lambda reply, meter: _save(reply, sha256, size, target, meter))

    def _publish(self, record: ActionResult, path_of: Callable[[str], str]) -> bool:
        wanted = {sha256 for sha256 in record.blobs() if sha256 != EMPTY}
        if record.log is not None and record.log not in record.small:
            wanted.add(record.log)
        for sha256 in sorted(wanted - self._sent):
            path = Path(path_of(sha256))
            try:
                large = path.stat().st_size > ASKED_FIRST
                if not (large and self._send("HEAD", f"cas/{sha256}", _is_there)) and not self._put(
                    f"cas/{sha256}", path
                ):
                    return False
            except OSError:
                return False  # collected meanwhile, or unreadable: no matter for this build
            self._sent.add(sha256)
        return self._put(f"ac/{record.key}", pack(record))

    def _put(self, path: str, body: Path | bytes) -> bool:
        """Send something; when the remote does not take it, nothing more is sent, but reading goes on."""
        if not self.write:
            return False
        status = self._send("PUT", path, lambda reply, _: reply.status_code, body)
        if status in _STORED:
            return True
        why = _REFUSALS.get(status, f"status {status}")
        with self._lock:
            first, self.write = self.write, False
        if first:
            self._note(f"remote store {self.url} does not take what is sent to it ({why}); nothing more is sent")
        return False

    def _send(
        self, method: str, path: str, take: Callable[[httpx.Response, Meter], T], body: Path | bytes | None = None
    ) -> T:
        """Make a request, some times if the remote is busy or the line bad, and give the reply to `take`."""
        import httpx  # noqa: PLC0415 - 80 ms that only a remote store is worth

        size = 0 if body is None else body.stat().st_size if isinstance(body, Path) else len(body)
        # What is sent counts when the reply comes: until then a server that takes it slowly is given its time.
        patience = replace(self._patience, grace=self._patience.grace + size / self._patience.floor)
        why = ""
        for attempt in range(1, self._patience.attempts + 1):
            if attempt > 1:
                time.sleep(self._patience.pause(attempt - 1))
            last = method == "PUT" and attempt == self._patience.attempts
            try:
                return supervised(lambda meter: self._ask((method, path), body, take, meter, last=last), patience)  # noqa: B023
            except _Busy as busy:
                why = str(busy)
            except TooSlow as error:
                raise _Trouble(f"it is too slow ({error})") from error
            except httpx.TransportError as error:
                why = f"it cannot be reached ({type(error).__name__}: {error})"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _Trouble(f"{type(error).__name__}: {error}") from error
        raise _Trouble(why)

    def _ask(
        self,
        request: tuple[str, str],
        body: Path | bytes | None,
        take: Callable[[httpx.Response, Meter], T],
        meter: Meter,
        *,
        last: bool,
    ) -> T:
        """One attempt at a request, (method, path)."""
        method, path = request
        with contextlib.ExitStack() as stack:
            headers: dict[str, str] = {}
            content: Iterator[bytes] | None = None
            if isinstance(body, Path):
                file = stack.enter_context(body.open("rb"))
                headers, content = {"Content-Length": str(os.fstat(file.fileno()).st_size)}, meter.reading(file)
            elif body is not None:
                headers, content = {"Content-Length": str(len(body))}, iter((body,))
            reply = stack.enter_context(
                self._connected().stream(method, f"{self.url}/{path}", content=content, headers=headers)
            )
            if reply.status_code in BUSY and not last:
                raise _Busy(f"it answers with status {reply.status_code}")
            if reply.status_code in {401, 403} and method != "PUT":
                raise _Trouble(f"it wants other credentials (status {reply.status_code})")
            return take(reply, meter)

    def _hidden(self, text: str) -> str:
        """A text of a library without what opens the door."""
        for secret in (self._token, self._login[1] if self._login else None):
            text = text.replace(secret, "***") if secret else text
        return redact(text)

    def _connected(self) -> httpx.Client:
        import httpx  # noqa: PLC0415

        with self._lock:
            if self._client is None:
                headers = {"User-Agent": "slipway", "Accept-Encoding": "identity"}
                login = self._login or _from_netrc(self._host)
                if self._token:
                    headers["Authorization"] = f"Bearer {self._token}"
                try:
                    self._client = httpx.Client(
                        auth=httpx.BasicAuth(*login) if login and not self._token else None,
                        headers=headers,
                        timeout=httpx.Timeout(self._patience.read, connect=self._patience.connect),
                        follow_redirects=False,  # credentials go where the user said, and nowhere else
                    )
                except (OSError, ValueError, ImportError) as error:  # certificates or proxies of the environment
                    raise _Trouble(f"no connection can be set up: {error}") from error
            return self._client


def _is_there(reply: httpx.Response, _: Meter | None = None) -> bool:
    """Whether a reply is a hit (True) or a miss (False); anything else is trouble."""
    if reply.status_code in _MISS:
        return False
    if reply.status_code != _OK:
        raise _Trouble(f"it answers with status {reply.status_code}")
    return True


def _blocks(reply: httpx.Response, meter: Meter) -> Iterator[bytes]:
    """The body of a reply, as it was asked for: one that has to be decoded may decode to anything."""
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise _Trouble("it sends another encoding than it was asked for")
    return meter.counted(reply.iter_raw(CHUNK_BYTES))


def _body(reply: httpx.Response, limit: int, meter: Meter) -> bytes | None:
    if not _is_there(reply):
        return None
    body = bytearray()
    for part in _blocks(reply, meter):
        body += part
        if len(body) > limit:
            raise _Trouble("its reply does not end")
    return bytes(body)


def _save(reply: httpx.Response, sha256: str, size: int, target: str, meter: Meter) -> bool:
    """Write the body of a reply to a file while its digest is made; no more than it should have."""
    if not _is_there(reply):
        return False
    digest, received = hashlib.sha256(), 0
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for part in _blocks(reply, meter):
                digest.update(part)
                received += len(part)
                if received > size:
                    break
                file.write(part)
        if received == size and digest.hexdigest() == sha256:
            return True
    except OSError as error:
        raise store_error(error, "store a download", path) from error
    finally:
        if not (received == size and digest.hexdigest() == sha256):
            path.unlink(missing_ok=True)
    raise _Trouble(f"its blob {sha256[:12]}… is not what it should be")


def _from_netrc(host: str) -> tuple[str, str] | None:
    import netrc  # noqa: PLC0415

    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None
