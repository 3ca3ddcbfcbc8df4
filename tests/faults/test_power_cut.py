"""A power cut: the file system stops in the middle of a build and loses all that was not flushed; `doit` is right then.

A loop-mounted image is shut down as `xfs_io -x -c shutdown` does, without flushing its log, and mounted again.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Background, Graph, graph_project, recorded
from projects import Project, tiny_project

GOING_DOWN = 0x8004587D
"""`FS_IOC_SHUTDOWN`, in the kernel's older headers `XFS_IOC_GOINGDOWN`."""

NO_LOG_FLUSH = 2

MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
IMAGE_BYTES = 512 << 20
"""Of a sparse file; xfs takes no less than 300 MB."""


class Disk:
    """A file system in an image, mounted at `path`."""

    def __init__(self, kind: str, image: Path, path: Path) -> None:
        self._image = image
        self.path = path
        path.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        self._run(*MAKE[kind], image)
        self.mount()

    def mount(self) -> None:
        self._run("mount", "-o", "loop", self._image, self.path)

    def unmount(self) -> None:
        """Lazily, since a worker that is just being killed may have files open there; then wait for the loop device."""
        self._run("umount", "-l", self.path)
        deadline = time.monotonic() + 10
        while str(self._image) in self._loops() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _loops(self) -> str:
        return subprocess.run(["losetup", "-a"], check=False, capture_output=True, text=True).stdout

    def cut_power(self) -> None:
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, GOING_DOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def _run(self, *command: object) -> None:
        subprocess.run(list(map(str, command)), check=True, capture_output=True)


@pytest.fixture(params=sorted(MAKE))
def disk(request, tmp_path: Path) -> Iterator[Disk]:
    if shutil.which(MAKE[request.param][0]) is None:
        pytest.skip(f"{MAKE[request.param][0]} is not installed")
    try:
        disk = Disk(request.param, tmp_path / "image", tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{request.param} cannot be mounted here ({error})")
    yield disk
    with suppress(subprocess.CalledProcessError):
        disk.unmount()


@pytest.fixture
def graph(disk: Disk, tmp_path: Path) -> Graph:
    """The graph on that disk; what doit prints is written elsewhere."""
    made = graph_project(disk.path / "graph")
    for m in range(3):
        made.write(f"src/m{m}.txt", f"{m}" * 70_000)
    os.sync()
    (tmp_path / "graph").symlink_to(disk.path / "graph")
    return Graph(tmp_path / "graph")


def cut_power_after(tasks: int, disk: Disk, graph: Graph) -> set[str]:
    """Build until so many tasks have been reported; return those that were reported before the power was cut."""
    run = Background(graph, EACH_TAKES="0.06")
    run.until(lambda: run.output().count(": built in") >= tasks)
    reported = set(re.findall(r"^\[ *\d+/\d+\] (\S+): built in", run.output(), re.MULTILINE))
    disk.cut_power()
    with suppress(ProcessLookupError):
        run.kill()
    disk.unmount()
    disk.mount()
    return reported


@pytest.mark.parametrize("tasks", [1, 8, 20])
def test_during_the_first_build(disk, graph, tasks):
    reported = cut_power_after(tasks, disk, graph)
    assert reported <= recorded(graph.path("build/store")), "work was reported as finished, and lost"
    again = graph.ok()
    assert TRACEBACK not in again.output
    assert not again.built & reported
    assert graph.is_right()
    assert graph.ok().idle


@pytest.mark.parametrize("tasks", [1, 4])
def test_after_an_input_changed(disk, graph, tasks):
    graph.ok()
    graph.write("src/m1.txt", "second\n" * 10_000)
    os.sync()
    reported = cut_power_after(tasks, disk, graph)
    again = graph.ok()
    assert TRACEBACK not in again.output
    assert not again.built & reported
    assert graph.is_right()
    assert graph.ok().idle


def test_right_after_the_end(disk, graph):
    """Nothing of the last run need be on the disk but its results; what the tree holds comes back from them."""
    graph.ok(env={"EACH_TAKES": "0.06"})
    disk.cut_power()
    disk.unmount()
    disk.mount()
    again = graph.ok()
    assert TRACEBACK not in again.output
    assert not again.built
    assert graph.is_right()
    assert graph.ok().idle


@pytest.fixture
def real(disk: Disk, tmp_path: Path) -> Project:
    """The tiny model on that disk; its download cache is elsewhere."""
    tiny_project(disk.path / "project")
    os.sync()
    (tmp_path / "real").symlink_to(disk.path / "project")
    return Project(tmp_path / "real", {"SLIPWAY_CACHE": str(tmp_path / "cache")})


@pytest.mark.tvm
@pytest.mark.parametrize("seconds", [1.0, 2.5, 5.0])
def test_in_a_build_of_a_real_model(disk, real, built, seconds):
    run = Background(real, "-n", "2")
    time.sleep(seconds)
    disk.cut_power()
    with suppress(ProcessLookupError):
        run.kill()
    disk.unmount()
    disk.mount()
    assert TRACEBACK not in real.ok().output
    assert real.products() == built.products()
    assert real.ok().idle


@pytest.mark.tvm
def test_right_after_a_build_of_a_real_model(disk, real, built):
    real.ok()
    disk.cut_power()
    disk.unmount()
    disk.mount()
    assert TRACEBACK not in real.ok().output
    assert real.products() == built.products()
    assert real.ok().idle
