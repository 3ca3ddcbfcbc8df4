"""The power is cut while doit runs: the file system shuts down without flushing, and is mounted again.

A real cut, on a loop-mounted ext4 and xfs: what was not on the disk is gone, files may be empty or torn. Afterwards a
run ends with status 0 and the right products.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import DOIT, Project, tiny_project

SHUTDOWN = 0x8004587D
"""`_IOR('X', 125, __u32)`, which ext4 and xfs share."""
NO_FLUSH = ctypes.c_uint32(2)
"""Of both: nothing that is only in memory reaches the disk any more."""


class Disk:
    """A file system in a file of its own, whose power can be cut."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._image, self.place = folder / "image", folder / "disk"
        self.place.mkdir()
        with self._image.open("wb") as file:
            file.truncate(400 << 20)
        subprocess.run([f"mkfs.{kind}", "-q", self._image], check=True, capture_output=True)

    def mount(self) -> bool:
        done = subprocess.run(["mount", "-o", "loop", self._image, self.place], capture_output=True, check=False)
        return done.returncode == 0

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.place], check=False, capture_output=True)
        deadline = time.monotonic() + 10
        while os.path.ismount(self.place) and time.monotonic() < deadline:
            time.sleep(0.05)

    def cut_power(self) -> None:
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, NO_FLUSH)
        finally:
            os.close(fd)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"mounting a {request.param} of one's own needs root and mkfs.{request.param}")
    made = Disk(request.param, tmp_path)
    if not made.mount():
        pytest.skip("this machine allows no mounts")
    yield made
    made.unmount()


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """What is kept elsewhere: only the project is on the disk that fails."""
    return {"SLIPWAY_CACHE": str(tmp_path / "cache")}


def cut_during_run(disk: Disk, project: Project, seconds: float) -> None:
    """Start a run, cut the power after some seconds, and have the disk back as the crash left it."""
    with (disk.place.parent / "output").open("w") as output:
        env = {**os.environ, **project.env}
        run = subprocess.Popen([DOIT, "-n", "2"], cwd=project.root, env=env, stdout=output, stderr=output)
        time.sleep(seconds)
        disk.cut_power()
        try:
            run.wait(60)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
    disk.unmount()
    assert disk.mount()


@pytest.mark.parametrize("seconds", [1.0, 2.5, 5.0])
def test_after_a_power_cut_a_run_ends_well(disk: Disk, outside: dict[str, str], built: Project, seconds: float) -> None:
    wanted = built.products()
    project = tiny_project(disk.place / "project")
    project.env |= outside
    os.sync()
    cut_during_run(disk, project, seconds)
    project.ok()
    assert project.products() == wanted
    assert project.ok().idle


def test_a_finished_build_is_believed_only_as_far_as_it_is_there(
    disk: Disk, outside: dict[str, str], built: Project
) -> None:
    wanted = built.products()
    project = tiny_project(disk.place / "project")
    project.env |= outside
    os.sync()
    project.ok()
    disk.cut_power()
    disk.unmount()
    assert disk.mount()
    project.ok()
    assert project.products() == wanted
    assert project.ok().idle
