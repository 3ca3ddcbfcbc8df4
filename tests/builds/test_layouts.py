"""A layout by the real doit: three backends of one model lie on the disk once, and a fourth costs its own compile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lief
import pytest
from projects import Project, clone, tiny_project

pytestmark = pytest.mark.tvm

TARGETS = """\
backends:
  host: {preset: host}
  mali: {preset: android}
  macos: {preset: macos}
  emulator: {preset: "android:cpu", arch: x86_64}
  old: {preset: "android:cpu", arch: armv7}
matrix:
  model: [tiny]
  backend: [host, mali, macos]
products:
  ava:
    kind: layout
    backends: [host, mali, macos]
    layout:
      host: {library: "llm/{model}/{model}.so", bundle: "llm/{model}"}
      mali: {library: "llm-mali/{model}/{model}-mali.tar", bundle: "llm-mali/{model}"}
      macos: {library: "llm-macos/{model}/{model}.dylib", bundle: "llm-macos/{model}"}
      # more
"""
SIZE = 256
SHARD = "params_shard_0.bin"
CALL = """
import sys, numpy as np, tvm
from tvm import relax
if sys.argv[2] == "path":
    module = tvm.runtime.load_module(sys.argv[1])
else:
    import ctypes
    ctypes.CDLL(sys.argv[1])
    module = tvm.runtime.system_lib("tiny_f32_")
vm = relax.VirtualMachine(module, tvm.cpu())
w = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype("float32")
x = np.random.default_rng(1).normal(size=(2, SIZE)).astype("float32")
got = vm["forward"](tvm.runtime.tensor(x), tvm.runtime.tensor(w)).numpy()
np.testing.assert_allclose(got, np.maximum(x @ w.T, 0), rtol=1e-4, atol=1e-4)
print("right")
""".replace("SIZE", str(SIZE))


@pytest.fixture(scope="module")
def ava(tmp_path_factory) -> Project:
    project = tiny_project(tmp_path_factory.mktemp("layout") / "project")
    project.write("weights/config.json", f'{{"size": {SIZE}}}\n')
    project.write(
        "weights/weight.txt", "".join(" ".join("01"[i == j] for j in range(SIZE)) + "\n" for i in range(SIZE))
    )
    text = project.path("targets.yaml").read_text()
    project.write("targets.yaml", text[: text.index("backends:")] + TARGETS)
    project.ok()
    return project


def on_disk(*folders: Path) -> int:
    """Bytes on the disk of everything in these folders, each inode counted once, as `du` counts."""
    files = {
        (found := path.stat()).st_ino: found.st_blocks * 512
        for one in folders
        for path in one.rglob("*")
        if path.is_file()
    }
    return sum(files.values())


def test_three_backends_of_one_model_lie_on_the_disk_once(ava: Project):
    tree, store = ava.path("dist/ava"), ava.path("build/store")
    shards = [tree / folder / "tiny" / SHARD for folder in ("llm", "llm-mali", "llm-macos")]
    assert len({one.read_bytes() for one in shards}) == 1
    assert len({one.stat().st_ino for one in shards}) == 1, "/tmp has hard links"
    assert shards[0].stat().st_ino == ava.path(f"dist/bundle/tiny-f32/{SHARD}").stat().st_ino
    # The tree's own libraries and small files, beside what the store has: less than one copy of the weights.
    size = shards[0].stat().st_size
    assert (
        on_disk(store, tree) - on_disk(store)
        < size
        < 3 * size
        < sum(one.stat().st_size for one in tree.rglob("*") if one.is_file())
    )


def test_no_library_names_the_folder_that_it_was_linked_in(ava: Project):
    for path in (ava.path("dist/ava/llm/tiny/tiny.so"), ava.path("dist/ava/llm-macos/tiny/tiny.dylib")):
        assert str(ava.root).encode() not in path.read_bytes()
    with_debug = ava.path("build/archive/macos/libmodels.a").read_bytes()
    assert b"__debug_info" in with_debug, "the objects would have it do so"


def test_it_is_listed_proven_and_at_rest(ava: Project):
    (proof,) = (one for one in ava.json("dist/manifest.json")["proofs"] if one["subject"] == "ava")
    assert proof["proven"] == "2 shared objects, 1 tar: of the proven objects; 12 files of 3 bundles"
    files = {one["path"] for one in ava.json("dist/manifest.json")["files"]}
    assert {"ava/llm-mali/tiny/tiny-mali.tar", f"ava/llm-macos/tiny/{SHARD}", "ava/link.json"} <= files
    assert ava.ok().idle


@pytest.mark.parametrize("way", ["path", "prefix"])
@pytest.mark.skipif(sys.platform != "linux", reason="the library is for Linux")
def test_the_library_is_loaded_by_its_path_or_by_its_prefix_and_calls_right(ava: Project, way):
    done = subprocess.run(
        [sys.executable, "-c", CALL, ava.path("dist/ava/llm/tiny/tiny.so"), way],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "right\n", done.stderr


def test_a_fourth_backend_copies_no_weights_and_compiles_itself_only(ava: Project, tmp_path):
    project = clone(ava, tmp_path / "project")
    project.env["SLIPWAY_STORE"] = str(ava.path("build/store"))
    project.ok()
    before = on_disk(project.path("dist/ava"))
    shard = project.path(f"dist/ava/llm/tiny/{SHARD}").stat().st_ino
    project.edit("targets.yaml", "[host, mali, macos]", "[host, mali, macos, emulator]")
    project.edit(
        "targets.yaml", "# more", 'emulator: {library: "llm-emu/{model}/{model}.so", bundle: "llm-emu/{model}"}'
    )
    run = project.ok()
    compiled = {"compile:tiny-f32@emulator", "archive:emulator", "verify:emulator"}
    assert run.built == compiled | {
        "layout:ava",
        "verify:ava",
        "product:ava",
        "product:bundle/tiny-f32",
        "manifest:dist",
    }
    assert project.path(f"dist/ava/llm-emu/tiny/{SHARD}").stat().st_ino == shard
    grown = on_disk(project.path("dist/ava")) - before
    assert grown < project.path(f"dist/ava/llm/tiny/{SHARD}").stat().st_size

    text = project.path("targets.yaml").read_text().replace("[host, mali, macos, emulator]", "[emulator, old]")
    rules = '      emulator: {library: "{backend}.so"}\n      old: {library: "{backend}.so"}\n'
    project.write("targets.yaml", text[: text.index("      host: {library")] + rules)
    project.ok()
    for name, machine, alignment in (("emulator", "X86_64", 16384), ("old", "ARM", 65536)):
        library = lief.parse(project.path(f"dist/ava/{name}.so"))
        assert library.header.machine_type.name == machine
        assert library.libraries == ["libtvm_ffi.so", "libtvm_runtime.so"]
        assert {one.alignment for one in library.segments if one.type.name == "LOAD"} == {alignment}
        asked = {one.name for one in library.dynamic_symbols if one.name and one.shndx == 0}
        assert all(one.startswith("TVM") for one in asked), "nothing that bionic lacks"
