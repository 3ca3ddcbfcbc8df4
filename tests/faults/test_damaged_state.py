"""Damage to what a run has kept, in a project of real models: found, told, and healed by doing just that again."""

from __future__ import annotations

import re
import shutil

import pytest
from fault_graph import TRACEBACK
from projects import Project, Run

pytestmark = pytest.mark.tvm

STATE = (
    "build/workspace-targets.yaml", "build/stat-cache", "build/tools", "build/last-run.json",
    "build/stamp/targets.yaml", "build/lock", "build/store/v2/stat-cache", "build/store/v2/lock",
    "build/toolchain/current/probe.json", "build/manifest/weights.tiny.txt",
)  # fmt: skip
"""Every file of state, and two that stand for outputs."""


def healed(project: Project, *words: str) -> Run:
    """Run doit, and make sure that all is well afterwards."""
    run = project.ok(*words)
    assert TRACEBACK not in run.output
    again = project.ok()
    assert again.idle, again.output
    return run


def flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :] if data else b"x"


DAMAGES = {
    "deleted": None,
    "empty": lambda _: b"",
    "half": lambda data: data[: len(data) // 2],
    "flipped": flip,
    "doubled": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "text": lambda _: b"{}\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", STATE)
def test_a_damaged_file_of_state(built: Project, name, damage):
    """Nothing is compiled for it: what the one file does not know any more the others do."""
    products, path = built.products(), built.path(name)
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    run = healed(built)
    assert not run.built, run.output
    assert built.products() == products


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_files_of_state_at_once(built: Project, damage):
    products = built.products()
    for name in STATE:
        if damage == "deleted":
            built.path(name).unlink()
        else:
            built.path(name).write_bytes(DAMAGES[damage](built.path(name).read_bytes()))
    healed(built)
    assert built.products() == products


def blob_of(project: Project, output: str) -> str:
    """The file in the store that an output came from."""
    content = project.path(output).read_bytes()
    for path in project.path("build/store/v2/cas").rglob("*"):
        if path.is_file() and path.read_bytes() == content:
            return str(path)
    raise AssertionError(output)


OBJECT = "build/compile/tiny-f32@host/tiny_f32_lib0.o"


@pytest.mark.parametrize("damage", ["deleted", "empty", "half", "flipped"])
def test_a_damaged_blob(built: Project, damage):
    """It is of no matter until it is needed; then its action, and no other, runs again."""
    products, path = built.products(), built.path(blob_of(built, OBJECT))
    data = path.read_bytes()
    path.chmod(0o644)
    path.unlink()
    if damage != "deleted":
        path.write_bytes(DAMAGES[damage](data))
    assert built.ok().idle
    built.path(OBJECT).unlink()
    run = healed(built)
    assert run.worked == {"compile:tiny-f32@host": "built"}
    assert damage == "deleted" or re.search("the blob .* was damaged; what needs it will be built again", run.output)
    assert built.products() == products
    built.path(OBJECT).unlink()
    assert healed(built).worked == {"compile:tiny-f32@host": "restored"}


def test_a_damaged_record(built: Project):
    products, records = built.products(), built.path("build/store/v2/ac")
    files = (path for path in records.rglob("*") if path.is_file())
    [record] = [path for path in files if b'"name":"compile:tiny-f32@host"' in path.read_bytes()]
    record.write_bytes(record.read_bytes().replace(b'"schema":1', b'"schema":2'))
    assert built.ok().idle
    built.path(OBJECT).unlink()
    run = healed(built)
    assert run.worked == {"compile:tiny-f32@host": "built"}
    assert re.search("the record .* was damaged; its action will run again", run.output)
    assert built.products() == products


def test_a_store_that_is_gone(built: Project):
    products = built.products()
    shutil.rmtree(built.path("build/store"))
    assert built.ok().idle
    built.path(OBJECT).unlink()
    assert healed(built).worked == {"compile:tiny-f32@host": "built"}
    assert built.products() == products


def test_folders_of_build_that_are_gone(built: Project):
    products = built.products()
    folders = {path for path in built.path("build").iterdir() if path.is_dir() and path.name != "store"}
    assert {"archive", "compile", "log", "manifest"} <= {path.name for path in folders}
    for folder in folders:
        shutil.rmtree(folder)
    run = healed(built)
    assert not run.built
    assert built.products() == products


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "zeros"])
def test_a_damaged_lock_file(built: Project, damage):
    """It is the user's file: it is told what to do with it, and nothing is built by half of it."""
    good = '{\n  "version": 1,\n  "weights": {}\n}\n'
    built.write("slipway.lock", DAMAGES[damage](good.encode()).decode(errors="replace"))
    run = built.doit()
    assert TRACEBACK not in run.output
    if damage != "flipped":
        assert run.status != 0
        assert re.search(r"slipway.lock(:\d+:\d+)?: .*\n.*hint: restore it from version control", run.output)
    built.path("slipway.lock").unlink()
    assert built.ok().idle
