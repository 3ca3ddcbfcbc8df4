"""Fakes of servers on the network: a web server with faults on order, and a hub of models on top of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fake_xet import FakeXet

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Fault:
    """What goes wrong with one answer: another status, or a connection that ends after some bytes of the body."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class FakeServer(ThreadingHTTPServer):
    """Serves `files` with ranges and validators; `faults` are used up one a GET of that path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.redirects: dict[str, str] = {}
        self.requests: list[Seen] = []
        self.validators = True
        self.ranges = True
        self.lengths = True
        self.route: Callable[[_Handler], bool] = lambda _: False
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gets(self, path: str) -> list[Seen]:
        return [seen for seen in self.requests if seen.method == "GET" and seen.path == path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"
    cut: int | None = None

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(Seen(self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        faults = self.server.faults[path] if self.command == "GET" else []
        fault = faults.pop(0) if faults else Fault()
        self.cut = fault.cut
        if fault.status is not None:
            self.reply(fault.status, b"no", fault.headers)
        elif path in self.server.redirects:
            self.reply(302, b"", {"Location": self.server.redirects[path]})
        elif not self.server.route(self):
            if path in self.server.files:
                self.serve(self.server.files[path])
            else:
                self.reply(404, b"not here", {})

    def serve(self, body: bytes, *, extra: dict[str, str] | None = None) -> None:
        """Send a file, or the range of it that was asked for; only so many bytes of it as the fault says."""
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        headers = {"Accept-Ranges": "bytes", **({"ETag": etag} if self.server.validators else {}), **(extra or {})}
        start, wanted = 0, self.headers.get("Range")
        if wanted and self.server.ranges and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-").split("-")[0])
            if start >= len(body):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.reply(206 if "Content-Range" in headers else 200, body[start:], headers, cut=self.cut)

    def reply(self, status: int, body: bytes, headers: dict[str, str], *, cut: int | None = None) -> None:
        """Send an answer. The connection is closed after it, so a cut body is a cut connection."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True


@dataclass
class FakeHub:
    """Speaks as much of the hub's protocol as its library asks for: what a revision is, and its files."""

    server: FakeServer
    repo: str = "org/tiny"
    commit: str = "a" * 40
    branch: str = "main"
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    """Files in large storage: their digest is a SHA-256, and they are behind a redirect."""
    error: tuple[int, str] | None = None
    """Status and `X-Error-Code` of every answer."""
    digests: dict[str, str] = field(default_factory=dict)
    """What the hub says of a large file's SHA-256, where that is not the truth."""
    xet: FakeXet | None = None
    """Where large files are stored, if not as Git LFS has them."""

    @property
    def elsewhere(self) -> str:
        """Large storage is another host, which is not given the token."""
        return self.server.url.replace("127.0.0.1", "localhost")

    def __post_init__(self) -> None:
        self.server.route = self._route

    def store_in_xet(self) -> FakeXet:
        """Have the large files in Xet storage."""

        def read(name: str, offset: int, size: int) -> bytes:
            return self.files[name][offset : offset + size]

        self.xet = FakeXet(self.server.url, self.elsewhere, read, {name: len(self.files[name]) for name in self.large})
        return self.xet

    def _route(self, handler: _Handler) -> bool:
        path = unquote(urlsplit(handler.path).path)
        stored = self.xet.answer(path, self.server.requests[-1].headers) if self.xet else None
        if stored:
            handler.reply(stored[0], stored[2], stored[1])
        elif self.error:
            handler.reply(self.error[0], b"{}", {"X-Error-Code": self.error[1]})
        elif path.startswith("/api/models/"):
            self._info(handler, path.removeprefix("/api/models/"))
        elif path.startswith(f"/{self.repo}/resolve/{self.commit}/"):
            self._file(handler, path.split(f"/resolve/{self.commit}/")[1])
        elif path.startswith("/storage/"):
            handler.serve(self.files[path.removeprefix("/storage/")])
        else:
            handler.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        return True

    def _info(self, handler: _Handler, path: str) -> None:
        if not path.startswith(self.repo):
            handler.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path.rpartition("/revision/")[2] not in {self.branch, self.commit}:
            handler.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [self._sibling(name) for name in self.files]
            body = {"id": self.repo, "sha": self.commit, "siblings": siblings, "tags": []}
            handler.reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _sibling(self, name: str) -> dict[str, Any]:
        body = self.files[name]
        found: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": hashlib.sha1(body).hexdigest()}  # noqa: S324 (git's)
        if name in self.large:
            found["lfs"] = {"size": len(body), "sha256": self._sha256(name), "pointerSize": 130}
        return found

    def _sha256(self, name: str) -> str:
        return self.digests.get(name) or hashlib.sha256(self.files[name]).hexdigest()

    def _file(self, handler: _Handler, name: str) -> None:
        commit = {"X-Repo-Commit": self.commit}
        if name not in self.files:
            handler.reply(404, b"", {"X-Error-Code": "EntryNotFound", **commit})
        elif name in self.large:
            linked = {"X-Linked-Etag": f'"{self._sha256(name)}"', "X-Linked-Size": str(len(self.files[name]))}
            stored = self.xet.linked(name, self.repo, self.commit) if self.xet else {}
            there = {"Location": f"{self.elsewhere}/storage/{name}?X-Amz-Signature=storagesecret"}
            handler.reply(302, b"", there | linked | stored | commit)
        else:
            handler.serve(self.files[name], extra=commit)
