"""A stand-in for the hub that serves files from a folder, of any size: `weights.py` and `hub.py` start it.

A listing; large files behind a redirect to another host, and, if asked, in Xet storage, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from project import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from fake_xet import FakeXet

MIB = 1 << 20
COMMIT = "b" * 40


class File(NamedTuple):
    """A file of the repository `org/big`."""

    path: Path
    size: int
    sha256: str


def files_of(folder: Path) -> dict[str, File]:
    """The files of a folder, hashed."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(MIB):
                digest.update(block)
        found[path.name] = File(path, path.stat().st_size, digest.hexdigest())
    return found


class Hub(ThreadingHTTPServer):
    """As much of the hub as its library asks for, on this machine.

    Args:
        files: by name; those of more than 1 MiB are in large storage.
        xet: whether large storage is Xet's.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, File], *, xet: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.elsewhere = f"http://localhost:{self.server_address[1]}"
        sizes = {name: file.size for name, file in files.items()}
        self.xet = FakeXet(self.url, self.elsewhere, self._read, sizes) if xet else None
        self.sent = 0
        """Bytes of large files."""
        self._lock = threading.Lock()

    def count(self, sent: int) -> None:
        """Bytes of a large file were sent."""
        with self._lock:
            self.sent += sent

    def _read(self, name: str, offset: int, size: int) -> bytes:
        with self.files[name].path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def handle_error(self, *_: object) -> None:
        """A client that was killed is what `hub.py` is about."""


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Run a server until the block ends."""
    thread = threading.Thread(target=partial(hub.serve_forever, 0.05), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        """Headers only."""
        self.do_GET()

    def do_GET(self) -> None:
        """A listing, a redirect to large storage, a file, or what Xet's client asks for."""
        path = urlsplit(self.path).path
        name, files, xet = path.rpartition("/")[2], self.server.files, self.server.xet
        answer = xet.answer(path, {key.lower(): value for key, value in self.headers.items()}) if xet else None
        if answer:
            self.server.count(len(answer[2]) if path.startswith("/xorbs/") else 0)
            self._reply(answer[0], {**answer[1], "Content-Length": str(len(answer[2]))}, answer[2])
        elif path.startswith("/api/models/"):
            siblings = [
                {"rfilename": n, "size": f.size, "blobId": f.sha256[:40]}
                | ({"lfs": {"size": f.size, "sha256": f.sha256, "pointerSize": 130}} if f.size > MIB else {})
                for n, f in files.items()
            ]
            body = json.dumps({"id": "org/big", "sha": COMMIT, "siblings": siblings, "tags": []}).encode()
            self._reply(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)
        elif name not in files:
            self._reply(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
        elif "/resolve/" in path and files[name].size > MIB:
            linked = {"X-Linked-Etag": f'"{files[name].sha256}"', "X-Linked-Size": str(files[name].size)}
            there = {"Location": f"{self.server.elsewhere}/files/{name}?X-Amz-Signature=secret", "Content-Length": "0"}
            stored = xet.linked(name, "org/big", COMMIT) if xet else {}
            self._reply(302, linked | there | stored | {"X-Repo-Commit": COMMIT})
        else:
            self._send(files[name])

    def _send(self, file: File) -> None:
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start = int(wanted[0] or 0)
        end = min(int(wanted[2]) + 1 if wanted[2] else file.size, file.size)
        headers = {"ETag": f'"{file.sha256}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if "Range" in self.headers:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        self._reply(206 if "Range" in self.headers else 200, headers | {"Content-Length": str(end - start)})
        if self.command != "GET":
            return
        spoil = self.server.xet is not None and self.server.xet.spoil
        with file.path.open("rb") as body, contextlib.suppress(ConnectionError):
            if spoil:
                self.connection.sendall(bytes([body.read(1)[0] ^ 1]))
            while start < end:
                sent = self.connection.sendfile(body, start + spoil, min(MIB, end - start) - spoil)
                start, spoil = start + sent + spoil, False
                self.server.count(sent)

    def _reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)
