"""Weights: what do gigabytes cost on their way from a server to `dist/bundle`, in memory, passes and copies?

    python bench/weights.py                       # 12 GiB by the hub; needs 50 GiB of disk, some minutes
    python bench/weights.py --gib 0.2 --source url
    python bench/weights.py --write               # puts the table into docs/explanation/speed.md

Makes a checkpoint of random numbers (so nothing is sparse, equal or compressible) in safetensors of 2 GiB, serves it as
the hub does (by Git LFS or by Xet), as plain files, or gives its path. Then `doit weights`, `doit params` and `doit
product` run, one after the other. Memory is sampled from /proc every 50 ms and summed over all
processes: `own` is anonymous memory, `all` counts pages of files that are mapped, too, which the kernel may drop. Bytes
read and written are those of system calls, as Linux counts them for a process and the children that it has waited for:
what comes from a socket or is mapped is not among them.
Copies are the blocks that files take, each inode once, without those of the server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import table
from hub_server import MIB, File, Hub, files_of, serving
from measure import UNUSUAL, Failed
from project import DOIT, PAGE, frozen

TENSOR = 64 * MIB
FILE = 2048 * MIB
FETCHING = 400
"""MiB of own memory that fetching may take."""
WRITING = TENSOR // MIB + 1024
"""MiB that writing parameters may take: a shard, which is a tensor here, and 1 GiB."""
LIMITS = {"weights:big": FETCHING, "params:big-f16": WRITING, "product:bundle/big-f16": WRITING}

TARGETS = """
version: 1
models:
  big:
    factory: recipe.py:build
    weights: {source}
    variants: {{f16: {{}}}}
    bundle: ["*.json"]
backends: {{host: {{preset: host}}}}
matrix: {{model: [big], backend: [host]}}
"""
RECIPE = """
from functools import partial

from safetensors import safe_open
from tvm.relax.frontend import nn


class Twice(nn.Module):
    def forward(self, x: nn.Tensor):
        return x + x


def tensor(file, name):
    with safe_open(file, "np") as opened:
        return opened.get_tensor(name)


def build(spec):
    module, _ = Twice().export_tvm({"forward": {"x": nn.spec.Tensor([4], "float32")}})
    named = {}
    for file in sorted(spec.weights.glob("*.safetensors")):
        with safe_open(file, "np") as opened:
            named |= {name: partial(tensor, file, name) for name in opened.keys()}
    return module, named
"""


WAITED = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
status = subprocess.run(sys.argv[2:]).returncode
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
open(sys.argv[1], "w").write(open("/proc/self/io").read())
sys.exit(status)
"""
"""Runs a command, waits for it and for the orphans that it leaves, and writes down what they read and wrote."""


class Used(NamedTuple):
    """What a command took: MiB at most, bytes, seconds."""

    own: float
    whole: float
    read: int
    written: int
    wall: float


def checkpoint(folder: Path, size: int, file_size: int = FILE) -> dict[str, File]:
    """Write random tensors of float16 into safetensors files."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    tensors = max(1, size // TENSOR)
    per_file = max(1, file_size // TENSOR)
    for number, first in enumerate(range(0, tensors, per_file)):
        names = [f"layer.{i}.weight" for i in range(first, min(first + per_file, tensors))]
        header = json.dumps(
            {
                name: {"dtype": "F16", "shape": [TENSOR // 8192, 4096], "data_offsets": [i * TENSOR, (i + 1) * TENSOR]}
                for i, name in enumerate(names)
            }
        ).encode()
        with (folder / f"model-{number:05}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in names:  # numbers from 0 to 1, so that none is a NaN
                file.write(random.random(TENSOR // 2, np.float32).astype(np.float16).tobytes())
    return files_of(folder)


def source_of(kind: str, url: str, files: dict[str, File]) -> str:
    """The model's `weights` in targets.yaml."""
    if kind == "path":
        return json.dumps({"path": str(next(iter(files.values())).path.parent)})
    if kind == "url":
        return json.dumps({"url": f"{url}/files/", "files": list(files)})
    return json.dumps({"hf": "org/big", "revision": "main"})


class Sampler(threading.Thread):
    """Looks at every process below this one until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.own = self.whole = 0.0

    def run(self) -> None:
        """Sample."""
        while not self.over.wait(0.05):
            own = whole = 0.0
            for pid in _below(os.getpid()):
                with contextlib.suppress(OSError, KeyError, ValueError):
                    status = _fields(f"/proc/{pid}/status")
                    own += int(status["RssAnon"].split()[0]) / 1024
                    whole += int(status["VmRSS"].split()[0]) / 1024
            self.own, self.whole = max(self.own, own), max(self.whole, whole)


def _fields(path: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in Path(path).read_text(encoding="ascii").splitlines())


def _below(top: int) -> Iterator[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int(
                    (path / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
                )
                parents.setdefault(parent, []).append(int(path.name))
    todo = list(parents.get(top, ()))
    while todo:
        pid = todo.pop()
        yield pid
        todo += parents.get(pid, ())


def measured(command: list[str | Path], folder: Path, env: dict[str, str]) -> Used:
    """Run a command.

    Raises:
        Failed: it did.
    """
    sampler = Sampler()
    sampler.start()
    began = time.monotonic()
    clean = {name: value for name, value in os.environ.items() if name not in UNUSUAL}
    counts = folder / "counts"
    done = subprocess.run(
        [sys.executable, "-c", WAITED, counts, *command],
        cwd=folder, env={**clean, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.monotonic() - began
    sampler.over.set()
    sampler.join()
    if done.returncode:
        raise Failed(done.stdout + done.stderr)
    counted = _fields(str(counts))
    return Used(sampler.own, sampler.whole, int(counted["rchar"]), int(counted["wchar"]), wall)


def on_disk(folder: Path) -> int:
    """Bytes of the disk that the files below a folder take, each inode once."""
    states = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum({(state.st_dev, state.st_ino): state.st_blocks * 512 for state in states}.values())


def prepare(machine: Path, kind: str, url: str, files: dict[str, File]) -> dict[str, str]:
    """Write a project below a folder that is all the machine; the change to the environment in which to run it."""
    (machine / "project").mkdir(parents=True)
    (machine / "project" / "targets.yaml").write_text(TARGETS.format(source=source_of(kind, url, files)))
    (machine / "project" / "recipe.py").write_text(RECIPE)
    (machine / "project" / "dodo.py").write_text("from pipeline.dodo import DOIT_CONFIG, task_slipway\n")
    return {
        **frozen(machine.parent / "code"),
        "HOME": str(machine),
        "HF_HOME": str(machine / "hf"),
        "HF_ENDPOINT": url,
        "SLIPWAY_CACHE": str(machine / "cache"),
    }


def rows(work: Path, size: int, kind: str) -> Iterator[list[str]]:
    """The rows of the table.

    Raises:
        Failed: something was more than it may be.
    """
    files = checkpoint(work / "server", size)
    total = sum(file.size for file in files.values())
    machine = work / "machine"
    late = []
    with serving(Hub(files, xet=kind == "xet")) as hub:
        env = prepare(machine, kind, hub.url, files)
        for task, limit in LIMITS.items():
            used = measured([DOIT, task], machine / "project", env)
            copies = on_disk(machine) / total
            yield [
                f"`doit {task}`", f"{used.wall:.0f}", f"{used.own:.0f}", f"{used.whole:.0f}",
                f"{used.read / total:.2f}", f"{used.written / total:.2f}", f"{copies:.2f}",
            ]  # fmt: skip
            if used.own > limit:
                late.append(f"{task}: {used.own:.0f} MiB of memory, not {limit}")
    shipped = sum(path.stat().st_size for path in (machine / "project" / "dist").rglob("params_shard_*.bin"))
    if shipped < total - MIB:
        late.append(f"dist/ has {shipped} of {total} bytes")
    if late:
        raise Failed("\n".join(late))


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=12.0, help="default: %(default)g")
    parser.add_argument("--source", choices=("hub", "xet", "url", "path"), default="hub", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where to work; by default where temporary files are")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    asked = parser.parse_args()
    size = int(asked.gib * 1024) * MIB
    with tempfile.TemporaryDirectory(prefix="weights-", dir=asked.folder) as folder:
        if shutil.disk_usage(folder).free < 4 * size:
            raise Failed(f"{asked.gib:g} GiB need four times as much free disk")
        head = ["", "wall s", "own MiB", "all MiB", "read ×", "written ×", "on disk ×"]
        text = f"{table.machine()}\n\n{asked.gib:g} GiB, by {asked.source}; × the model's size.\n\n"
        late, lines = [], []
        try:
            lines.extend(rows(Path(folder).resolve(), size, asked.source))
        except Failed as error:  # what was measured before is worth a look
            late.append(str(error))
        text += table.markdown(head, lines)
    print(text)
    if late:
        raise Failed("\n".join(late))
    if asked.write:
        table.write(PAGE, "weights", text)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
