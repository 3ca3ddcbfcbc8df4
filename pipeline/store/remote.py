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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline import settings
from pipeline.files import write_new
from pipeline.transport.http import Meter

from .action_cache import LARGEST_BYTES
from .action_result import ActionResult, decode, key_of
from .cas import EMPTY
from .message import pack, unpack
from .os_errors import Note, store_error
from .remote_client import FORBIDDEN, Client, Trouble, blocks, is_there

if TYPE_CHECKING:
    import httpx

ASKED_FIRST = 1 << 16
"""Bytes above which it is asked whether a blob is there before it is sent."""

_STORED = {200, 201, 202, 204}

_REFUSALS = {
    401: "status 401: set SLIPWAY_REMOTE_TOKEN, or SLIPWAY_REMOTE_USER and SLIPWAY_REMOTE_PASSWORD",
    403: "status 403: these credentials may not write",
    405: "status 405: the server does not allow PUT",
    413: "status 413: the server's limit of a body's size is too low",
    500: "status 500: the server's error log says why; often it may not write in its folder",
    507: "status 507: the server's disk is full",
}

_DENIED = (
    "status 403: taken as not there. If nothing is ever found there, these credentials may not read it; else let them "
    "list it (S3: s3:ListBucket), and this is said no more"
)

T = TypeVar("T")


class Remote:
    """A remote store. Methods may be called from any thread, raise nothing, and do nothing once the remote is given up.

    `note` gets one sentence when the remote is given up, or refuses to be written.
    """

    def __init__(self, client: Client, note: Note, *, write: bool = False) -> None:
        self.write = write
        self._client = client
        self.url = client.url
        self._note = note
        self._given_up = False
        self._denied = False
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls, note: Note, environ: Mapping[str, str] = os.environ) -> Remote | None:
        """The remote store that SLIPWAY_REMOTE names, or None.

        SLIPWAY_REMOTE_WRITE=1 allows writing; SLIPWAY_REMOTE_TOKEN, or SLIPWAY_REMOTE_USER and SLIPWAY_REMOTE_PASSWORD,
        authenticate.

        Raises:
            SlipwayError: it is not a URL, the token cannot be sent, or what is to be written is neither 0 nor 1.
        """
        url = settings.text("SLIPWAY_REMOTE", environ)
        if not url:
            return None
        client = Client(
            url,
            token=settings.text("SLIPWAY_REMOTE_TOKEN", environ) or None,
            user=settings.text("SLIPWAY_REMOTE_USER", environ) or None,
            password=settings.text("SLIPWAY_REMOTE_PASSWORD", environ),
        )
        return cls(client, note, write=settings.flag("SLIPWAY_REMOTE_WRITE", environ))

    def has(self, key: str) -> bool:
        """Whether the remote has a record of this key; its blobs are not looked for."""
        return self._attempt(lambda: self._ask("HEAD", f"ac/{key}", is_there), otherwise=False)

    def record(self, key: str) -> ActionResult | None:
        """The record of a key; None when there is none, or what there is cannot be believed."""
        return self._attempt(lambda: self._record(key), otherwise=None)

    def fetch(self, sha256: str, size: int, target: str) -> bool:
        """Download a blob into a new file; whether it is there now, with the digest that it should have.

        Raises:
            StoreError: the file cannot be written.
        """
        return self._attempt(lambda: self._fetch(sha256, size, target), otherwise=False)

    def send(self, sha256: str, path: str) -> bool:
        """Send the file of a blob, unless it is there; whether it is there now."""
        return self.write and self._attempt(lambda: self._send(sha256, Path(path)), otherwise=False)

    def publish(self, record: ActionResult) -> bool:
        """Send a record whose blobs are all there, so that nobody finds one without; whether it arrived."""
        return self._attempt(lambda: self._put(f"ac/{record.key}", pack(record)), otherwise=False)

    @property
    def works(self) -> bool:
        """Whether it can be read and written, as far as is known."""
        return self.write and not self._given_up

    def close(self) -> None:
        """Close the connections; nothing is asked or sent any more."""
        self._given_up = True
        self._client.close()

    def _attempt(self, work: Callable[[], T], *, otherwise: T) -> T:
        """Do something with the remote unless it was given up; give it up when it fails."""
        if self._given_up:
            return otherwise
        try:
            return work()
        except Trouble as trouble:
            with self._lock:
                first, self._given_up = not self._given_up, True
            self._client.close()  # so that nothing goes on reading what does not end
            if first:
                self._note(f"remote store {self.url}: {self._client.hidden(str(trouble))}; going on without it")
            return otherwise

    def _ask(self, method: str, path: str, take: Callable[[httpx.Response, Meter], T]) -> T:
        """Make a request that sends nothing; say once where the answer may mean that these credentials are wrong."""

        def seen(reply: httpx.Response, meter: Meter) -> T:
            if reply.status_code == FORBIDDEN:
                with self._lock:
                    first, self._denied = not self._denied, True
                if first:
                    self._note(f"remote store {self.url}: {_DENIED}")
            return take(reply, meter)

        return self._client.send(method, path, seen)

    def _record(self, key: str) -> ActionResult | None:
        body = self._ask("GET", f"ac/{key}", lambda reply, meter: _body(reply, LARGEST_BYTES, meter))
        if body is None:
            return None
        encoded = unpack(body)
        record = None if encoded is None else decode(encoded)
        with contextlib.suppress(ValueError, RecursionError):  # numbers and depths that JSON can say and we never do
            if record is not None and record.key == key and key_of(record.fields) == key:
                return record
        page = ", but a web page: of a login, perhaps" if body.lstrip().startswith(b"<") else ""
        raise Trouble(f"its record {key[:12]}… is not what it should be{page}")

    def _fetch(self, sha256: str, size: int, target: str) -> bool:
        if sha256 == EMPTY:  # servers treat it specially, each in its own way
            write_new(target, b"", 0o444)
            return True
        return self._ask("GET", f"cas/{sha256}", lambda reply, meter: _save(reply, sha256, size, target, meter))

    def _send(self, sha256: str, path: Path) -> bool:
        where = f"cas/{sha256}"
        try:
            large = path.stat().st_size > ASKED_FIRST
            return (large and self._ask("HEAD", where, is_there)) or self._put(where, path)
        except OSError:
            return False  # collected meanwhile, or unreadable: no matter for this build

    def _put(self, path: str, body: Path | bytes) -> bool:
        """Send something; when the remote does not take it, nothing more is sent, but reading goes on."""
        if not self.write:
            return False
        status = self._client.send("PUT", path, lambda reply, _: reply.status_code, body)
        if status in _STORED:
            return True
        why = _REFUSALS.get(status, f"status {status}")
        with self._lock:
            first, self.write = self.write, False
        if first:
            self._note(f"remote store {self.url} does not take what is sent to it ({why}); nothing more is sent")
        return False


def _body(reply: httpx.Response, limit: int, meter: Meter) -> bytes | None:
    if not is_there(reply):
        return None
    body = bytearray()
    for part in blocks(reply, meter):
        body += part
        if len(body) > limit:
            raise Trouble("its reply does not end")
    return bytes(body)


def _save(reply: httpx.Response, sha256: str, size: int, target: str, meter: Meter) -> bool:
    """Write the body of a reply to a file while its digest is made; no more than it should have."""
    if not is_there(reply):
        return False
    digest, received = hashlib.sha256(), 0
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for part in blocks(reply, meter):
                digest.update(part)
                received += len(part)
                if received > size:
                    break
                file.write(part)
            file.flush()
            os.fsync(file.fileno())  # here, where several do so at a time
        if received == size and digest.hexdigest() == sha256:
            return True
    except OSError as error:
        raise store_error(error, "store a download", path) from error
    finally:
        if not (received == size and digest.hexdigest() == sha256):
            path.unlink(missing_ok=True)
    raise Trouble(f"its blob {sha256[:12]}… is not what it should be")
