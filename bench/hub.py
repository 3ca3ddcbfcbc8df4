"""Files of the hub that are in Xet storage: what does its library cost, by `hf_xet` or by plain HTTP, beside Slipway?

    python bench/hub.py                # 4 GiB in two files; needs 12 GiB of disk, some minutes
    python bench/hub.py --gib 0.5
    python bench/hub.py --write        # puts the table into docs/explanation/speed.md

The server is a stand-in on this machine (`hub_server.py`); the library and `hf_xet` are the real ones. Memory, bytes
and copies are counted as in `weights.py`. `killed` is what the server had to send until all was there when the first
run got a kill -9 after half of it, and `left` what then lay on the disk; `wrong` says what became of files of which the
server had changed some bytes. Fails unless Slipway keeps below its limit of memory, goes on where it was, leaves one
copy and refuses what is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import table
from hub_server import COMMIT, MIB, Hub, serving
from measure import UNUSUAL, Failed
from project import DOIT
from weights import FETCHING, checkpoint, measured, on_disk, prepare

LIBRARY = f"""
from concurrent.futures import ThreadPoolExecutor
from huggingface_hub import HfApi, hf_hub_download
names = [file.rfilename for file in HfApi().model_info("org/big", revision="main").siblings]
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda name: hf_hub_download("org/big", name, revision="{COMMIT}"), names))
"""
BUFFERS = {
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": "128mb",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": "0",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": "128mb",
}


class Contestant(NamedTuple):
    """A way to bring the files."""

    name: str
    command: list[str | Path]
    env: Mapping[str, str] = {}


CONTESTANTS = (
    Contestant("`hf_xet`, as it comes", [sys.executable, "-c", LIBRARY]),
    Contestant("`hf_xet`, buffers of 128 MB", [sys.executable, "-c", LIBRARY], BUFFERS),
    Contestant("the library, `HF_HUB_DISABLE_XET=1`", [sys.executable, "-c", LIBRARY], {"HF_HUB_DISABLE_XET": "1"}),
    Contestant("`doit weights`", [DOIT, "weights:big"], {"HF_XET_HIGH_PERFORMANCE": "1", "HF_HUB_DISABLE_XET": "0"}),
)


class Row(NamedTuple):
    """What one of them took: seconds, MiB, and bytes by those of the files."""

    wall: float
    own: float
    read: float
    written: float
    copies: float
    killed: float
    left: float
    wrong: str


def row(one: Contestant, hub: Hub, work: Path) -> Row:
    """Let it run, be killed and run again, and be lied to."""
    total = sum(file.size for file in hub.files.values())
    machine = work / "machine"

    def fresh() -> dict[str, str]:
        shutil.rmtree(machine, ignore_errors=True)
        shutil.rmtree(work / "code", ignore_errors=True)
        hub.sent = 0
        return prepare(machine, "hub", hub.url, dict(hub.files)) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | one.env

    env = fresh()
    used = measured(one.command, machine / "project", env)
    copies = on_disk(machine) / total
    _killed(one.command, machine / "project", fresh(), hub, total // 2)
    measured(one.command, machine / "project", env)
    sent, left = hub.sent / total, on_disk(machine) / total
    hub.xet.spoil = True
    try:
        env = fresh()
        measured(one.command, machine / "project", env)
        there = {path.stat().st_size: path for path in machine.rglob("*.safetensors")}
        wrong = "taken" if there else "nothing came"
    except Failed as error:
        wrong = "refused" if "is not what was promised" in str(error) else f"failed: {str(error)[-200:]}"
    hub.xet.spoil = False
    return Row(used.wall, used.own, used.read / total, used.written / total, copies, sent, left, wrong)


def _killed(command: list[str | Path], folder: Path, env: dict[str, str], hub: Hub, enough: int) -> None:
    """Run a command until the server has sent enough, then kill it and all its children."""
    clean = {name: value for name, value in os.environ.items() if name not in UNUSUAL}
    running = subprocess.Popen(
        command, cwd=folder, env={**clean, **env}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while hub.sent < enough and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def measure(work: Path, size: int) -> list[list[str]]:
    """The rows of the table.

    Raises:
        Failed: Slipway is not what it should be.
    """
    found = {}
    with serving(Hub(checkpoint(work / "server", size, size // 2), xet=True)) as hub:
        for one in CONTESTANTS:
            found[one.name] = row(one, hub, work)
    *_, ours = found.values()
    if ours.own > FETCHING or ours.killed > 1.1 or max(ours.copies, ours.left) > 1.1 or ours.wrong != "refused":
        raise Failed(f"not as it should be: {ours}")
    return [
        [name, f"{r.wall:.0f}", f"{r.own:.0f}", *(f"{x:.2f}" for x in r[2:7]), r.wrong] for name, r in found.items()
    ]


def text(asked: argparse.Namespace, work: Path) -> str:
    """What the page says of it."""
    head = ["", "wall s", "own MiB", "read ×", "written ×", "on disk ×", "killed: sent ×", "left ×", "wrong bytes"]
    rows = measure(work, int(asked.gib * 1024) * MIB)
    return f"{asked.gib:g} GiB in two files; × their size.\n\n{table.markdown(head, rows)}"


if __name__ == "__main__":
    options = table.parser(__doc__)
    options.add_argument("--gib", type=float, default=4.0, help="default: %(default)g")
    table.main("hub", options, text)
