"""A second machine: what does the default matrix cost where another machine has built it already?

    python bench/second.py                     # builds the matrix once, and takes it over six times; five minutes
    python bench/second.py --write             # puts the table into docs/explanation/speed.md

The first machine builds into its store and sends everything to a remote one, which is a real nginx with WebDAV. The
second has another copy of the project and of Slipway in another place, another home and an empty download cache; it
gets either a copy of the store or the address of the remote one. It must build nothing: not one compile, no proof, no
download; otherwise this ends with an error. What it takes is held against a `doit` with nothing to do in that tree.

Run it with the Python that has Slipway.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import table
from measure import Cost, Failed, median, run
from project import DOIT, frozen, project

ALLOWED = 3.0
"""Seconds that taking over may take longer than a run with nothing to do."""

SERVER = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port}; root {folder}/data; client_max_body_size 0;
    location / {{ create_full_put_path on; dav_methods PUT; }}
  }}
}}
"""


class Machine(NamedTuple):
    """A place with a project. `env` is what is different there."""

    project: Path
    env: dict[str, str]

    def doit(self, **env: str) -> Cost:
        """One run."""
        return run([DOIT], self.project, {**self.env, **env})

    def built(self) -> list[str]:
        """The tasks that the last run which did anything has built, rather than found."""
        from pipeline.reports.trace import load

        timings = load(self.project)
        if timings is None:
            raise Failed(f"there was no run in {self.project}")
        return [span.name for span in timings.spans if span.how not in {"restored", "fetched", "remote"}]


def another(work: Path, name: str) -> Machine:
    """A machine that nothing has been done on yet."""
    home = work / name / "home"
    home.mkdir(parents=True)
    env = {
        **frozen(work / name / "code"),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "SLIPWAY_CACHE": str(home / "slipway"),
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),  # a Cargo of rustup's is there
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
    }
    return Machine(project(work / name / "project"), env)


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """A web server that files can be put on; gives its address.

    Raises:
        Failed: there is none, or it does not start.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if program is None:
        raise Failed("nginx is not installed")
    (folder / "data").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(SERVER.format(folder=folder, port=port, user=user))
    server = subprocess.Popen([program, "-c", str(config), "-e", str(folder / "error.log")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        else:
            raise Failed((folder / "error.log").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def taken_over(machine: Machine, **env: str) -> tuple[Cost, Cost]:
    """What taking over costs, and what it costs to have nothing to do there.

    Raises:
        Failed: something was built.
    """
    cost = machine.doit(**env)
    if built := machine.built():
        raise Failed(f"the second machine built {', '.join(built)}")
    machine.doit(**env)
    return cost, median([machine.doit(**env) for _ in range(5)])


def measured(work: Path, rounds: int) -> Iterator[list[str]]:
    """The rows of the table."""
    first = Machine(project(work / "first" / "project"), frozen(work / "first" / "code"))
    copied, fetched = [], []
    with nginx(work / "nginx") as url:
        cost = first.doit(SLIPWAY_REMOTE=url, SLIPWAY_REMOTE_WRITE="1")
        yield ["the first machine builds, and sends it away", f"{cost.wall:.1f}", f"{cost.cpu:.1f}", ""]
        for number in range(rounds):
            machine = another(work, f"copied{number}")
            shutil.copytree(first.project / "build" / "store", machine.project / "build" / "store")
            copied.append(taken_over(machine))
            fetched.append(taken_over(another(work, f"fetched{number}"), SLIPWAY_REMOTE=url))
    late = []
    for what, costs in (("a copied store", copied), ("a remote store (nginx)", fetched)):
        cost, nothing = median([one for one, _ in costs]), median([other for _, other in costs])
        more = cost.wall - nothing.wall
        yield [f"the second, with {what}", f"{cost.wall:.2f}", f"{cost.cpu:.2f}", f"{more:.2f} s more"]
        yield ["… which then has nothing to do", f"{nothing.wall:.3f}", f"{nothing.cpu:.3f}", ""]
        if more > ALLOWED:
            late.append(what)
    if late:
        print(f"MORE THAN {ALLOWED:g} s with {' and '.join(late)}", file=sys.stderr)


def text(asked: argparse.Namespace, work: Path) -> str:
    """What the page says of it."""
    rows = list(measured(work, asked.rounds))
    return f"{table.markdown(['', 'wall s', 'CPU s', ''], rows)}\n\nNot one task was built a second time."


if __name__ == "__main__":
    table.main("second", table.parser(__doc__, rounds=3), text)
