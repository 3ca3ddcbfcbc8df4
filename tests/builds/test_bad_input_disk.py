"""A disk that is full or may not be written, files that may not be read: said as such; what is finished is kept.

Root may do everything everywhere. So where the tests run as root, doit is started without that right (`setpriv`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_input import nothing_lost, refused
from projects import Project

pytestmark = pytest.mark.tvm

STALE = ('"14.0"', '"15.0"')
"""The edit after which the iOS backend has to be built anew: objects, archive, kit and framework."""

RIGHTS = "-dac_override,-dac_read_search"
"""The capabilities by which root reads and writes what it may not."""


@pytest.fixture
def humble(built: Project) -> Iterator[Project]:
    """A built project whose doit respects the modes of files; they are put right at the end."""
    if os.geteuid() == 0:
        built.wrapper = ("setpriv", f"--inh-caps={RIGHTS}", f"--bounding-set={RIGHTS}")
        try:
            subprocess.run([*built.wrapper, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"running as root, and root's rights cannot be dropped here: {error}")
    yield built
    allow(built.root)


def allow(root: Path) -> None:
    """Make everything readable and writable again."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o700 if path.is_dir() else 0o600))


def forbid(root: Path) -> None:
    """Let nothing below a directory be written, nor the directory itself."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o555)


def test_products_that_may_not_be_written(humble):
    with nothing_lost(humble):
        humble.edit("targets.yaml", *STALE)
        forbid(humble.path("dist"))
        told = refused(humble, "-c")
        assert "✗ product:kit\ndist/kit: cannot publish: permission denied" in told
        assert ": cannot publish: permission denied\n  hint: make it writable for you\n" in told
        assert "compile:tiny-f32@ios-arm64: built" in told
        allow(humble.root)


def test_a_tree_that_may_not_be_written(humble):
    with nothing_lost(humble):
        humble.edit("targets.yaml", *STALE)
        forbid(humble.path("build"))
        told = refused(humble)
        assert told.endswith(
            "ERROR: build/lock: cannot lock the tree: permission denied\n  hint: make it writable for you\n"
        )
        assert "17 tasks: 17 not started\n" in told
        workspace = (
            "ERROR: build/workspace-targets.yaml: cannot write: permission denied\n  hint: make it writable for you\n"
        )
        assert workspace in refused(humble, "forget", "archive:host")
        assert workspace in refused(humble, "ignore", "archive:host")
        allow(humble.root)


def test_a_directory_that_may_not_be_written_at_all(humble):
    shutil.rmtree(humble.path("build"))
    shutil.rmtree(humble.path("dist"))
    forbid(humble.root)
    assert "ERROR: build/lock: cannot lock the tree: permission denied\n  hint: make it " in refused(humble)


def test_a_store_that_may_not_be_written(humble):
    with nothing_lost(humble):
        humble.edit("targets.yaml", *STALE)
        forbid(humble.path("build/store"))
        told = refused(humble)
        assert "✗ compile:tiny-f32@ios-arm64\nbuild/store/" in told
        assert "  hint: make it writable for you, or point SLIPWAY_STORE at a directory that is\n" in told
        allow(humble.root)


def test_outputs_that_may_not_be_removed(humble):
    products = humble.products()
    forbid(humble.path("dist"))
    told = refused(humble, "clean", "product:kit")
    assert "\nERROR: dist/kit/" in told
    assert ": cannot remove an output: permission denied\n  hint: make it writable for you\n" in told
    allow(humble.root)
    assert not humble.ok().built
    assert humble.products() == products


@pytest.mark.parametrize(
    ("name", "task"), [("recipe.py", "compile:tiny-f32@host"), ("weights/weight.txt", "weights:tiny")]
)
def test_a_file_that_may_not_be_read(name, task, humble):
    with nothing_lost(humble):
        humble.path(name).chmod(0)
        told = refused(humble, task)
        assert f"✗ {task}\n{name}: cannot read: permission denied\n  hint: make it readable for you\n" in told
        assert f" - {name}: cannot read: permission denied" in humble.doit("info", task).output
        allow(humble.root)


def test_a_matrix_file_that_may_not_be_read(humble):
    with nothing_lost(humble):
        humble.path("targets.yaml").chmod(0)
        what = "targets.yaml: cannot be read: Permission denied"
        assert refused(humble) == f"ERROR: {what}\n  hint: make it readable for you\n"
        allow(humble.root)


@pytest.fixture
def small(built: Project, tmp_path: Path) -> Iterator[Project]:
    """A built project on a disk of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({error}); a limit of file size is tested instead")
    try:
        root = shutil.copytree(built.root, disk / "project", symlinks=True)
        yield Project(root)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(project: Project, leave: float) -> None:
    """Fill the disk of a project but for so many times the size of a cell's objects."""
    objects = project.path("build/compile/tiny-f32@ios-arm64").glob("*.o")
    disk = os.statvfs(project.root)
    free = disk.f_bavail * disk.f_frsize - round(leave * sum(path.stat().st_size for path in objects))
    project.path("../filler").write_bytes(bytes(max(0, free)))


FREE = {
    "nothing": (0.0, "compile:tiny-f32@ios-arm64"),
    "too little for the objects": (0.5, "compile:tiny-f32@ios-arm64"),
    "too little for the archive": (2.2, "archive:ios-arm64"),
}
"""How much is left -> (times the size of the objects, the task that meets the end)."""


@pytest.mark.parametrize("left", FREE)
def test_a_full_disk_that_has(left, small):
    free, task = FREE[left]
    with nothing_lost(small):
        small.edit("targets.yaml", *STALE)
        fill(small, free)
        told = refused(small)
        assert f"{task}: FAILED" in told
        assert "no space left on device" in told
        assert "  hint: free some space (doit gc), then run doit again: what is finished is kept\n" in told
        small.path("../filler").unlink()


def test_each_product_is_the_old_one_or_the_new_one_when_the_disk_gets_full_between_them(small):
    old = small.products()
    small.edit("targets.yaml", *STALE)
    fill(small, 3.5)
    assert "no space left on device" in refused(small, "-c")
    met = small.products()
    small.path("../filler").unlink()
    small.ok()
    new = small.products()
    assert old != new
    assert not {name for name, content in met.items() if content not in (old.get(name), new.get(name))}


def test_a_file_that_is_larger_than_may_be(built):
    with nothing_lost(built):
        built.edit("targets.yaml", *STALE)
        built.wrapper = ("prlimit", "--fsize=70000")
        told = refused(built, "-c")
        built.wrapper = ()
        assert "file too large\n  hint: raise the limit for the size of a file (ulimit -f), then run doit again" in told


def test_what_was_finished_before_the_disk_was_full_is_not_done_again(small):
    small.edit("targets.yaml", *STALE)
    fill(small, 2.2)
    assert "compile:tiny-f32@ios-arm64: built" in refused(small)
    small.path("../filler").unlink()
    run = small.ok()
    assert "archive:ios-arm64" in run.worked
    assert "compile:tiny-f32@ios-arm64" not in run.built
