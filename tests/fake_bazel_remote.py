"""A stand-in for bazel-remote: what its server/http.go (version 2) does with a request, where nginx does otherwise.

Written after its source and README; the program itself, which is in Go, was not run. Blobs of the CAS must have their
digest; a record must be an `ActionResult`, and is a miss while a blob that it names is not there; whoever accepts zstd
gets blobs in it, so one that cannot read it must not say so.
"""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from pipeline.binary import protobuf

if TYPE_CHECKING:
    from typing_extensions import Self

NAME = re.compile(r"^/?(?:.*/)?(ac|cas)/([a-f0-9]{64})$")
EMPTY = hashlib.sha256(b"").hexdigest()


class FakeBazelRemote(ThreadingHTTPServer):
    """`kept` is what it has: (`ac` or `cas`, digest) -> bytes; `requests` what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept: dict[tuple[str, str], bytes] = {("cas", EMPTY): b""}
        self.requests: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/instance"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeBazelRemote
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        name = self._name()
        if name is None or "Content-Length" not in self.headers:
            self._reply(400, b"resource name must be a SHA256 hash in hex, with a Content-Length")
        elif name[0] == "cas" and hashlib.sha256(body).hexdigest() != name[1]:
            self._reply(500, b"checksums don't match")
        elif name[0] == "ac" and not _is_message(body):
            self._reply(400, b"no ActionResult")
        else:
            self.server.kept[name] = body
            self._reply(200, b"")

    def _get(self) -> None:
        name = self._name()
        body = None if name is None else self.server.kept.get(name)
        if body is not None and name is not None and name[0] == "ac":
            named = _blobs(body)
            if any(("cas", sha256) not in self.server.kept for sha256 in named):
                body = None
        if name is None:
            self._reply(400, b"resource name must be a SHA256 hash in hex")
        elif body is None:
            self._reply(404, b"Not found\n")
        elif name[0] == "cas" and "zstd" in self.headers.get("Accept-Encoding", ""):
            self._reply(200, b"(zstd)", {"Content-Encoding": "zstd"})
        else:
            self._reply(200, body)

    def _name(self) -> tuple[str, str] | None:
        self.server.requests.append((self.command, self.path))
        found = NAME.match(self.path)
        return None if found is None else (found[1], found[2])

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_message(body: bytes) -> bool:
    try:
        return bool(list(protobuf.fields(body)))
    except ValueError:
        return False


def _blobs(message: bytes) -> list[str]:
    """The digests of the output files (2) of an `ActionResult`: of each its digest (2), and of that the hash (1)."""
    found: list[str] = []
    for number, kind, start, end in protobuf.fields(message):
        if number == 2 and kind == protobuf.BYTES:
            file = message[start:end]
            for inner, _, begin, stop in protobuf.fields(file):
                if inner == 2:
                    digest = file[begin:stop]
                    found += [digest[a:b].decode() for n, _, a, b in protobuf.fields(digest) if n == 1]
    return found
