"""Prebuilt objects from a URL with the real doit: fetched, held to their digest, pinned, and compiled from there."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_web import FakeServer
from projects import Project

TASK = "compile:vendor-default@host"


@pytest.fixture
def web() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def objects(folder: Path, text: str) -> bytes:
    """A tar as TVM writes it, of a real object."""
    (folder / "lib0.c").write_text(text)
    subprocess.run(["cc", "-c", "lib0.c", "-o", "lib0.o"], cwd=folder, check=True)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        tar.add(folder / "lib0.o", "lib0.o")
    return whole.getvalue()


def test_objects_are_fetched_pinned_and_held_to_their_digest(project: Project, web: FakeServer, tmp_path: Path) -> None:
    web.files["/vendor.tar"] = good = objects(tmp_path, "int vendor_one;")
    sha256 = hashlib.sha256(good).hexdigest()
    source = f'{{url: "{web.url}/vendor.tar", sha256: {"f" * 64}}}'
    project.edit("targets.yaml", "\nbackends:\n", f"\n  vendor:\n    prebuilt: {{host: {source}}}\nbackends:\n")
    project.edit("targets.yaml", "products:", "  include:\n    - {model: vendor, backend: host}\nproducts:")
    run = project.doit(TASK)
    assert "prebuilt:vendor/host: FAILED" in run.output
    assert sha256 in run.output
    assert "Traceback" not in run.output
    assert not project.path("slipway.lock").exists()

    project.edit("targets.yaml", "f" * 64, sha256)
    assert project.ok(TASK).built == {"prebuilt:vendor/host", TASK}
    assert "vendor/host: its files are now pinned" not in project.ok(TASK).output
    assert project.json("slipway.lock")["weights"]["vendor/host"]["files"]["vendor.tar"]["sha256"] == sha256
    assert project.path(f"build/compile/{TASK.partition(':')[2]}/vendor_default_lib0.o").is_file()
    assert project.ok(TASK).idle

    project.edit("targets.yaml", f", sha256: {sha256}", "")  # pinned by the lock alone
    assert "vendor/host: its files are now pinned in slipway.lock" in project.ok(TASK).output
    web.files["/vendor.tar"] = objects(tmp_path, "int vendor_two;")
    shutil.rmtree(project.path("build"))
    shutil.rmtree(project.root.parent / "cache")
    changed = project.doit(TASK)
    assert "vendor.tar: is not what was promised: expected sha256" in changed.output
    assert "delete the model's entry from slipway.lock" in changed.output
