"""The server of a remote store: credentials, retries, and bounds on what a server may do. `remote` uses it.

httpx is imported with the first request.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlunsplit

from pipeline.errors import StoreError
from pipeline.transport.http import (
    BUSY,
    Meter,
    Patience,
    TooSlow,
    asked_to_wait,
    redact,
    redact_url,
    split_login,
    streamed,
    supervised,
    through_proxy,
)

if TYPE_CHECKING:
    import httpx

PATIENCE = Patience(attempts=3, first_wait=0.25, longest_wait=2.0, connect=5.0, read=30.0, whole=3600.0, floor=16 << 10)
"""A cache that is slow is worth less than what it saves."""


_OK = 200
_NO_LOGIN = 401
_PROXY_LOGIN = 407
FORBIDDEN = 403
"""What S3 says of what is not there to who may not list the bucket, and other servers to who may not read."""

_MISS = {204, FORBIDDEN, 404, 410}

T = TypeVar("T")


class _Busy(Exception):
    """A reply after which the same request may succeed: why, and the seconds that the server asks for."""


class Trouble(Exception):
    """A request that came to nothing; carries why. The remote is given up for it."""


class Client:
    """The server of a remote store. Methods may be called from any thread.

    Args:
        url: base of the two directories, e.g. `https://cache.example.org/slipway`; may carry `user:password@`.
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
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        try:
            parts, written = split_login(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # its text quotes the URL, password and all
            usable = False
        if not usable:
            raise StoreError(
                "SLIPWAY_REMOTE is not a URL of http or https",
                hint="e.g. https://cache.example.org/slipway; write %2F for a / in a password, %40 for an @ in a path",
            )
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise StoreError(
                "SLIPWAY_REMOTE_TOKEN has a space, a line feed or another odd character", hint="correct it"
            )
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._host = parts.hostname or ""
        self._token = token
        self._login = (user, password or "") if user else written
        self._patience = patience
        self._client: httpx.Client | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def send(
        self, method: str, path: str, take: Callable[[httpx.Response, Meter], T], body: Path | bytes | None = None
    ) -> T:
        """Make a request, some times if the remote is busy or the line bad, and give the reply to `take`."""
        import httpx  # noqa: PLC0415 - 80 ms that only a remote store is worth

        size = 0 if body is None else body.stat().st_size if isinstance(body, Path) else len(body)
        # What is sent counts when the reply comes: until then a server that takes it slowly is given its time.
        patience = replace(self._patience, grace=self._patience.grace + size / self._patience.floor)
        why, asked = "", None
        for attempt in range(1, self._patience.attempts + 1):
            if attempt > 1:
                time.sleep(self._patience.pause(attempt - 1, asked))
            last = method == "PUT" and attempt == self._patience.attempts
            try:
                return supervised(
                    lambda meter: self._ask((method, path), body, take, meter, last=last),  # noqa: B023
                    patience,
                    self._closed,
                )
            except _Busy as busy:
                why, asked = busy.args
            except TooSlow as error:
                raise Trouble(f"it is too slow ({error})") from error
            except httpx.TransportError as error:
                why = f"it cannot be reached{through_proxy(self.url)} ({type(error).__name__}: {error})"
            except (httpx.HTTPError, httpx.InvalidURL, RuntimeError, ValueError) as error:
                raise Trouble(f"{type(error).__name__}: {error}") from error
        raise Trouble(why)

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
                streamed(self._connected(), method, f"{self.url}/{path}", headers=headers, content=content)
            )
            if reply.status_code in BUSY and not last:
                raise _Busy(f"it answers with status {reply.status_code}", asked_to_wait(reply.headers))
            if reply.status_code == _NO_LOGIN and method != "PUT":
                raise Trouble("it wants other credentials (status 401)")
            if reply.status_code == _PROXY_LOGIN:
                raise Trouble(f"it cannot be reached{through_proxy(self.url)} (status 407: the proxy wants a login)")
            if reply.has_redirect_location:
                raise Trouble(
                    f"it sends on to {redact_url(str(reply.headers['location']))} (status {reply.status_code}), and "
                    "credentials go nowhere but to SLIPWAY_REMOTE: name the server that answers itself"
                )
            return take(reply, meter)

    def _connected(self) -> httpx.Client:
        import httpx  # noqa: PLC0415

        with self._lock:
            if self._closed.is_set():
                raise Trouble("it was closed")
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
                    raise Trouble(f"no connection can be set up: {error}") from error
            return self._client

    def hidden(self, text: str) -> str:
        """A text of a library without what opens the door."""
        for secret in (self._token, self._login[1] if self._login else None):
            text = text.replace(secret, "***") if secret else text
        return redact(text)

    def close(self) -> None:
        """Close the connections, also those on which a request still waits; none is made any more."""
        with self._lock:
            self._closed.set()
            if self._client is not None:
                self._client.close()
                self._client = None


def is_there(reply: httpx.Response, _: Meter | None = None) -> bool:
    """Whether a reply is a hit (True) or a miss (False); anything else is trouble."""
    if reply.status_code in _MISS:
        return False
    if reply.status_code != _OK:
        raise Trouble(f"it answers with status {reply.status_code}")
    return True


def blocks(reply: httpx.Response, meter: Meter) -> Iterator[bytes]:
    """The body of a reply, as it was asked for: one that has to be decoded may decode to anything."""
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise Trouble("it sends another encoding than it was asked for")
    return meter.counted(reply.iter_raw())


def _from_netrc(host: str) -> tuple[str, str] | None:
    import netrc  # noqa: PLC0415

    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None
