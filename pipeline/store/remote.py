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
import io
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.errors import StoreError
from pipeline.files import CHUNK_BYTES, write_new

from .action_result import ActionResult, decode, key_of, pack, unpack
from .cas import EMPTY
from .os_errors import Note, store_error

if TYPE_CHECKING:
    import httpx

CONNECT, SILENCE = 5.0, 30.0
"""Seconds to wait for a connection, and for the next bytes of a reply."""
ATTEMPTS = 3
PAUSE = 0.25
"""Seconds before the second attempt; doubled before each further one."""
RECORD_LIMIT = 64 << 20
"""Bytes above which a reply is no record of ours."""

ASKED_FIRST = 1 << 16
"""Bytes above which it is asked whether a blob is there before it is sent."""

_OK = 200
_MISS = {204, 404, 410}
_STORED = {200, 201, 202, 204}
_BUSY = {408, 425, 429, 500, 502, 503, 504}


_REFUSALS = {
    401: "status 401: set SLIPWAY_REMOTE_TOKEN, or SLIPWAY_REMOTE_USER and SLIPWAY_REMOTE_PASSWORD",
    403: "status 403: these credentials may not write",
    405: "status 405: the server does not allow PUT",
    413: "status 413: the server's limit of a body's size is too low",
    507: "status 507: the server's disk is full",
}

T = TypeVar("T")


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
        pause: see `PAUSE`.
        silence: see `SILENCE`.

    Raises:
        StoreError: the URL is not one of http or https.
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
        pause: float = PAUSE,
        silence: float = SILENCE,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise StoreError(
                "SLIPWAY_REMOTE is not a URL of http or https", hint="e.g. https://cache.example.org/slipway"
            )
        self.write = write
        self.url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        self._note = note
        self._token = token
        self._login = (user, password or "") if user else None
        if not self._login and parts.username:
            self._login = (unquote(parts.username), unquote(parts.password or ""))
        self._pause = pause
        self._silence = silence
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
                self._note(f"remote store {self.url}: {trouble}; going on without it")
            return otherwise

    def _record(self, key: str) -> ActionResult | None:
        body = self._send("GET", f"ac/{key}", lambda reply: _body(reply, RECORD_LIMIT))
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
        return self._send("GET", f"cas/{sha256}", lambda reply: _save(reply, sha256, size, target))

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
        status = self._send("PUT", path, lambda reply: reply.status_code, body)
        if status in _STORED:
            return True
        why = _REFUSALS.get(status, f"status {status}")
        with self._lock:
            first, self.write = self.write, False
        if first:
            self._note(f"remote store {self.url} does not take what is sent to it ({why}); nothing more is sent")
        return False

    def _send(self, method: str, path: str, take: Callable[[httpx.Response], T], body: Path | bytes | None = None) -> T:
        """Make a request, `ATTEMPTS` times if the remote is busy or the line bad, and give the reply to `take`."""
        import httpx  # noqa: PLC0415 - 80 ms that only who has a remote should pay

        client = self._connected()
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                with contextlib.ExitStack() as stack:
                    content = stack.enter_context(body.open("rb")) if isinstance(body, Path) else body
                    length = (
                        os.fstat(content.fileno()).st_size if isinstance(content, io.IOBase) else len(content or b"")
                    )
                    headers = {} if content is None else {"Content-Length": str(length)}
                    url = f"{self.url}/{path}"
                    reply = stack.enter_context(client.stream(method, url, content=content, headers=headers))
                    if reply.status_code not in _BUSY:
                        if reply.status_code in {401, 403} and method != "PUT":
                            raise _Trouble(f"it wants other credentials (status {reply.status_code})")
                        return take(reply)
                    why = f"it answers with status {reply.status_code}"
                    if method == "PUT" and attempt == ATTEMPTS - 1:
                        return take(reply)
            except httpx.TransportError as error:
                why = f"it cannot be reached ({type(error).__name__}: {error})"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _Trouble(f"{type(error).__name__}: {error}") from error
        raise _Trouble(why)

    def _connected(self) -> httpx.Client:
        import httpx  # noqa: PLC0415

        with self._lock:
            if self._client is None:
                headers = {"User-Agent": "slipway", "Accept-Encoding": "identity"}
                login = self._login or _from_netrc(urlsplit(self.url).hostname or "")
                if self._token:
                    headers["Authorization"] = f"Bearer {self._token}"
                try:
                    self._client = httpx.Client(
                        auth=httpx.BasicAuth(*login) if login and not self._token else None,
                        headers=headers,
                        timeout=httpx.Timeout(self._silence, connect=CONNECT),
                        follow_redirects=False,  # credentials go where the user said, and nowhere else
                    )
                except (OSError, ValueError, ImportError) as error:  # certificates or proxies of the environment
                    raise _Trouble(f"no connection can be set up: {error}") from error
            return self._client


def _is_there(reply: httpx.Response) -> bool:
    """Whether a reply is a hit (True) or a miss (False); anything else is trouble."""
    if reply.status_code in _MISS:
        return False
    if reply.status_code != _OK:
        raise _Trouble(f"it answers with status {reply.status_code}")
    return True


def _body(reply: httpx.Response, limit: int) -> bytes | None:
    if not _is_there(reply):
        return None
    body = bytearray()
    for part in reply.iter_bytes(CHUNK_BYTES):
        body += part
        if len(body) > limit:
            raise _Trouble("its reply does not end")
    return bytes(body)


def _save(reply: httpx.Response, sha256: str, size: int, target: str) -> bool:
    """Write the body of a reply to a file while its digest is made; no more than it should have."""
    if not _is_there(reply):
        return False
    digest, received = hashlib.sha256(), 0
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for part in reply.iter_bytes(CHUNK_BYTES):
                digest.update(part)
                received += len(part)
                if received > size:
                    break
                file.write(part)
        if received == size and digest.hexdigest() == sha256:
            return True
        path.unlink()
    except OSError as error:
        path.unlink(missing_ok=True)
        raise store_error(error, "store a download", path) from error
    raise _Trouble(f"its blob {sha256[:12]}… is not what it should be")


def _from_netrc(host: str) -> tuple[str, str] | None:
    import netrc  # noqa: PLC0415

    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None
