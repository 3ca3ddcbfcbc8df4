"""The ABIs of Android: 64-bit ARM, the emulator's x86_64, and 32-bit ARM, in one kit; on the CPU and on OpenCL."""

from __future__ import annotations

import re
import shutil
import subprocess

import lief
import pytest
from projects import Project, tiny_project

pytestmark = pytest.mark.tvm

MACHINES = {"arm64-v8a": lief.ELF.ARCH.AARCH64, "x86_64": lief.ELF.ARCH.X86_64, "armeabi-v7a": lief.ELF.ARCH.ARM}
BACKENDS = """\
backends:
  phone: {preset: "android:cpu"}
  emulator: {preset: "android:cpu", arch: x86_64}
  old: {preset: "android:cpu", arch: armv7}
  gpu: {preset: android, arch: x86_64}
  old-gpu: {preset: "android:adreno", arch: armv7}
matrix:
  model: [tiny]
  backend: [phone, emulator, old, gpu, old-gpu]
products:
  kit: {kind: android, backends: [phone, emulator, old]}
"""


@pytest.fixture(scope="module")
def android(tmp_path_factory) -> Project:
    project = tiny_project(tmp_path_factory.mktemp("android") / "project")
    text = project.path("targets.yaml").read_text()
    project.write("targets.yaml", text[: text.index("backends:")] + BACKENDS)
    return project


def test_every_abi_is_built_proven_and_in_the_kit(android: Project, tmp_path):
    run = android.ok()
    proven = [line for line in run.output.splitlines() if line.startswith("tiny-f32@")]
    assert len(proven) == 5
    assert all("linked, 2/2 constructors" in line for line in proven)
    assert android.ok().idle
    for abi, machine in MACHINES.items():
        folder = tmp_path / abi
        folder.mkdir()
        subprocess.run(["ar", "x", android.path(f"dist/kit/lib/{abi}/libmodels.a")], cwd=folder, check=True)
        objects = [lief.ELF.parse(path) for path in folder.iterdir()]
        assert len(objects) == 2
        assert {one.header.machine_type for one in objects if one is not None} == {machine}
    (filters,) = re.findall(r"abiFilters (.*)", android.path("dist/kit/kit.gradle").read_text())
    assert set(filters.split(", ")) == {f"'{abi}'" for abi in MACHINES}


@pytest.mark.skipif(shutil.which("cmake") is None, reason="there is no CMake")
@pytest.mark.parametrize("abi", MACHINES)
def test_cmake_takes_the_archive_of_the_abi(android: Project, tmp_path, abi):
    android.ok()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app NONE)\n"
        'set(CMAKE_SYSTEM_NAME "Android")\n'
        f'find_package(kit CONFIG REQUIRED PATHS "{android.path("dist/kit")}" NO_DEFAULT_PATH)\n'
        'message(STATUS "chose ${_kit_archive}")\n'
    )
    words = ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build"), f"-DANDROID_ABI={abi}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"/lib/{abi}/libmodels.a" in done.stdout
