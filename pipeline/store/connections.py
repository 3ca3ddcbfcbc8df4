"""Connections to the server of a remote store, kept open and used again. `remote_client` sends over them.

http.client, and not httpx, which has the same in better: a request takes it a seventh of the CPU (0.15 ms), and its
import a quarter (26 ms). A plan asks for hundreds of small things, so that is a third of what a second machine waits.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import os
import select
import socket
import ssl
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

BLOCK_BYTES = 1 << 18
"""At the slowest rate that is still waited for, one block takes a quarter of a minute."""

_HEAD_BYTES = 1 << 18
_DRAINED_BYTES = 1 << 16
"""What is left of a reply is read up to this size, so that its connection can be used again."""


class Broken(Exception):
    """A connection cannot be made, or broke; what was asked may be asked once more."""


class Reply:
    """A server's answer, of which the body is still to be read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.encoding = response.getheader("Content-Encoding") or "identity"
        self._response = response

    def blocks(self) -> Iterator[bytes]:
        """The body, as it comes over the line.

        Raises:
            Broken: it ends too early.
        """
        while block := _read(self._response, BLOCK_BYTES):
            yield block
        if self._response.length:
            raise Broken(f"it broke off, {self._response.length} bytes too early")

    def close(self) -> None:
        """Let go of the connection, which the reply may be the last to hold."""
        self._response.close()

    def is_drained(self) -> bool:
        """Whether the connection can be used again; what little is left of the body is read for that."""
        length = self._response.length
        if length is not None and length <= _DRAINED_BYTES:
            _read(self._response, _DRAINED_BYTES)
        return self._response.isclosed() and not self._response.will_close


class _Response(http.client.HTTPResponse):
    """A reply whose headers end, however often the server says that it goes on with them."""

    def begin(self) -> None:
        """Read the headers."""
        file = self.fp
        self.fp = cast("io.BufferedReader", _Head(file))
        super().begin()
        self.fp = file


class _Head:
    """What http.client reads headers from: no more than they may have."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left = _HEAD_BYTES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise http.client.HTTPException("its headers do not end")
        return line

    def close(self) -> None:
        self._file.close()


class Connections:
    """The connections to one server. Methods may be called from any thread; a connection serves one request at a time.

    Args:
        url: of the server.
        headers: sent with every request.
        connect: seconds for making a connection.
        read: seconds of silence after which one is given up.

    Raises:
        ValueError: the environment names a proxy that is none.
        OSError: the certificates that the environment names cannot be read.
    """

    def __init__(self, url: SplitResult, headers: Mapping[str, str], *, connect: float, read: float) -> None:
        self._headers = headers
        self._connect = connect
        self._timeout = read
        self._path = quote(url.path, safe="/%:@!$&'()*+,;=~")
        self._tls = _certificates() if url.scheme == "https" else None
        self._place = (url.hostname or "", url.port)
        self._proxy = _proxy(url)
        if self._proxy is not None and self._tls is None:
            self._path = f"http://{url.netloc}{self._path}"
            self._headers = {**headers, **_login(self._proxy)}
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: dict[http.client.HTTPConnection, socket.socket] = {}
        self._closed = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Iterable[bytes] = ()
    ) -> Iterator[Reply]:
        """Send a request; the reply may be read until the context ends.

        Raises:
            Broken: no answer came.
        """
        connection = self._take()
        reply: Reply | None = None
        kept = False
        try:
            with _line():
                connection.putrequest(method, f"{self._path}/{path}", skip_accept_encoding=True)
                for name, value in {**self._headers, **(headers or {})}.items():
                    connection.putheader(name, value)
                connection.endheaders()
            _send(connection, body)
            with _line():
                reply = Reply(connection.getresponse())
            yield reply
            kept = reply.is_drained()
        except Broken:
            self._drop_idle()  # they are as old as this one, and the server may have hung up
            raise
        finally:
            with self._lock:
                self._busy.pop(connection, None)
                kept = kept and not self._closed
                if kept:
                    self._idle.append(connection)
            if not kept:
                connection.close()
                if reply is not None:
                    reply.close()

    def close(self) -> None:
        """Close all connections, also those on which a request still waits."""
        self._closed = True
        self._drop_idle()
        with self._lock:
            busy = list(self._busy.values())
        for line in busy:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _take(self) -> http.client.HTTPConnection:
        connection = None
        while connection is None:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if _is_over(connection):
                connection.close()
                connection = None
        connection = connection or self._new()
        with self._lock:
            self._busy[connection] = connection.sock
            if not self._closed:
                return connection
            del self._busy[connection]
        connection.close()
        raise Broken("it was closed")

    def _new(self) -> http.client.HTTPConnection:
        host, port = self._place
        proxy = self._proxy
        if proxy is not None:
            host, port = proxy.hostname or "", proxy.port or 80
        connection = (
            http.client.HTTPConnection(host, port, timeout=self._connect)
            if self._tls is None
            else http.client.HTTPSConnection(host, port, timeout=self._connect, context=self._tls)
        )
        connection.response_class = _Response
        if proxy is not None and self._tls is not None:
            connection.set_tunnel(*self._place, headers=_login(proxy))
        with _line():
            connection.connect()
            connection.sock.settimeout(self._timeout)
        return connection

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


@contextlib.contextmanager
def _line() -> Iterator[None]:
    """What goes wrong on the line, as `Broken`: an OSError may be that of a file, too."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    except AttributeError as error:  # closed by another thread
        raise Broken("it was closed") from error


def _is_over(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has hung up: between two requests it has nothing else to say."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _read(response: http.client.HTTPResponse, size: int) -> bytes:
    with _line():
        return response.read(size)


def _send(connection: http.client.HTTPConnection, body: Iterable[bytes]) -> None:
    """Send a body; a server that hangs up on it has answered, most likely: its limit of a body's size is too low."""
    for block in body:
        try:
            with _line():
                connection.send(block)
        except Broken as broken:
            if isinstance(broken.__cause__, ConnectionError):
                return
            raise


def _certificates() -> ssl.SSLContext:
    """Whom to trust: what the environment names, else the authorities that come with Python's packages."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    import certifi  # noqa: PLC0415 - only https asks

    return ssl.create_default_context(cafile=certifi.where())


def _proxy(url: SplitResult) -> SplitResult | None:
    """The proxy for a server, as the environment (or the system's settings) say."""
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named and sys.platform != "darwin":
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - few have one

    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.netloc):
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("the proxy that the environment names is not one of http")
    return parts


def _login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    return {"Proxy-Authorization": basic(unquote(proxy.username), unquote(proxy.password or ""))}


def basic(user: str, password: str) -> str:
    """The value of the header for basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def netrc_login(host: str) -> tuple[str, str] | None:
    """User and password of a host in ~/.netrc."""
    import netrc  # noqa: PLC0415

    if not Path("~/.netrc").expanduser().is_file():
        return None
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None
