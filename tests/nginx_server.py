"""A real nginx with WebDAV as a remote store, for the tests that need one; how a team would serve it, less the TLS."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  access_log {folder}/access.log combined;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/data;
    client_max_body_size {limit};
    location / {{ create_full_put_path on; {dav} {auth} }}
  }}
}}
"""

BEARER_ONLY = 'if ($http_authorization != "Bearer sesame") { return 401; }'


class Nginx:
    """One server process; `data` is what it serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0

    def start(self, *, auth: str = "", dav: bool = True, limit: str = "0") -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        if auth == "basic":
            (self.folder / "users").write_text("ci:{PLAIN}secret\n")
            (self.folder / "users").chmod(0o644)
            auth = f"auth_basic cache; auth_basic_user_file {self.folder}/users;"
        config = self.folder / "nginx.conf"
        config.write_text(
            CONFIG.format(
                folder=self.folder,
                port=self.port,
                auth=auth,
                dav="dav_methods PUT DELETE;" if dav else "",
                limit=limit,
                user="user root;",
            )
        )
        command = [_program(), "-c", str(config), "-e", str(self.folder / "error.log")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        pytest.fail((self.folder / "error.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request so far.

        nginx answers first and writes its log then, so one more request is made, and waited for in the log.
        """
        self._asked += 1
        last = ("HEAD", f"/asked-{self._asked}")
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(*last)
            connection.getresponse()
        for _ in range(500):
            lines = (self.folder / "access.log").read_text().splitlines()
            found = [tuple(line.split('"')[1].split()[:2]) for line in lines]
            if last in found:
                return [one for one in found if not one[1].startswith("/asked-")]
            time.sleep(0.01)
        return pytest.fail("nginx does not write its log")


def _program() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if found is None:
        pytest.skip("nginx is not installed")
    return found
