"""An Android library by the real doit: every ABI links, and the emulator's code runs on this machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import lief
import pytest
from projects import Project, tiny_project

pytestmark = pytest.mark.tvm

TARGETS = """\
backends:
  phone: {preset: "android:cpu"}
  emulator: {preset: "android:cpu", arch: x86_64}
  old: {preset: "android:cpu", arch: armv7}
matrix:
  model: [tiny]
  backend: [phone, emulator, old]
products:
  kit:
    kind: android
    backends: [phone, emulator, old]
    maven: {group: com.example, artifact: tiny, version: "1.0.0", assets: true}
"""
TRIPLES = {
    "arm64-v8a": "aarch64-linux-android24",
    "x86_64": "x86_64-linux-android24",
    "armeabi-v7a": "armv7a-linux-androideabi24",
}
CALL = """
import ctypes, sys, numpy as np, tvm
from tvm import relax
ctypes.CDLL(sys.argv[1])
vm = relax.VirtualMachine(tvm.runtime.system_lib("tiny_f32_"), tvm.cpu())
w = np.loadtxt(sys.argv[2], dtype="float32")
x = np.linspace(-1, 1, 2 * len(w), dtype="float32").reshape(2, len(w))
got = vm["forward"](tvm.runtime.tensor(x), tvm.runtime.tensor(w)).numpy()
np.testing.assert_allclose(got, np.maximum(x @ w.T, 0), atol=1e-5)
print("right")
"""
ENDS = ("", *(f"-{n}" for n in range(22, 13, -1)))
CLANGS = (shutil.which(f"clang{end}") for end in ENDS if shutil.which(f"ld.lld{end}"))
CLANG = next(filter(None, CLANGS), None)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    made = tiny_project(tmp_path_factory.mktemp("android") / "project")
    text = made.path("targets.yaml").read_text()
    made.write("targets.yaml", text[: text.index("backends:")] + TARGETS)
    made.ok()
    return made


@pytest.fixture(scope="module")
def unpacked(project: Project, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("aar")
    with zipfile.ZipFile(project.path("dist/kit/maven/com/example/tiny/1.0.0/tiny-1.0.0.aar")) as opened:
        opened.extractall(folder)
    return folder


def test_it_ships_proven_and_rests(project: Project, unpacked: Path):
    (proof,) = (one for one in project.json("dist/manifest.json")["proofs"] if one["subject"] == "kit")
    assert proof["proven"].endswith("; AAR as proven")
    assert {path.parent.name for path in unpacked.glob("jni/*/libkit.so")} == set(TRIPLES)
    for path in unpacked.glob("jni/*/libkit.so"):
        assert lief.parse(path).libraries == ["libtvm_ffi.so"]
    bundle = {path.name: path.read_bytes() for path in project.path("dist/bundle/tiny-f32").iterdir()}
    assert {path.name: path.read_bytes() for path in unpacked.glob("assets/tiny-f32/*")} == bundle
    assert project.ok().idle


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="its code is for x86-64")
def test_the_emulators_code_runs_here_as_it_asks_for_the_runtime_alone(project: Project, unpacked: Path):
    words = [sys.executable, "-c", CALL, unpacked / "jni/x86_64/libkit.so", project.path("weights/weight.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "right\n", done.stderr


@pytest.mark.skipif(
    CLANG is None or shutil.which("cmake") is None, reason="there is no clang with its lld, or no CMake"
)
@pytest.mark.parametrize("abi", TRIPLES)
def test_an_app_of_each_abi_links_by_cmake_what_the_kit_and_the_aar_have(
    project: Project, unpacked: Path, tmp_path, abi
):
    """Without the NDK: Debian's clang and lld, and no C library, for which Android's own names stay open."""
    (linked,) = unpacked.glob(f"prefab/modules/kit/libs/android.{abi}/*.so")
    (tmp_path / "app.c").write_text(
        "#include <kit_models.h>\nconst char *prefix(void) { return kit_tiny_f32_PREFIX; }\n"
    )
    # What prefab makes of the metadata is an imported target; the kit's archive is linked by its own package.
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\n"
        f'find_package(kit CONFIG REQUIRED PATHS "{project.path("dist/kit")}" NO_DEFAULT_PATH)\n'
        "add_library(tiny::kit SHARED IMPORTED)\n"
        f'set_target_properties(tiny::kit PROPERTIES IMPORTED_LOCATION "{linked}"\n'
        f'  INTERFACE_INCLUDE_DIRECTORIES "{unpacked}/prefab/modules/kit/include")\n'
        "add_library(with_aar SHARED app.c)\ntarget_link_libraries(with_aar PRIVATE tiny::kit)\n"
        "add_library(with_kit SHARED app.c)\n"
        "target_include_directories(with_kit PRIVATE $<TARGET_PROPERTY:tiny::kit,INTERFACE_INCLUDE_DIRECTORIES>)\n"
        "target_link_options(with_kit PRIVATE -Wl,--gc-sections)\n"
        "target_link_libraries(with_kit PRIVATE slipway::kit_exports)\n"
        'set_target_properties(with_kit PROPERTIES C_STANDARD_LIBRARIES "")\n'
    )
    flags = {
        "CMAKE_SYSTEM_NAME": "Linux", "ANDROID_ABI": abi, "CMAKE_C_COMPILER": CLANG,
        "CMAKE_C_COMPILER_TARGET": TRIPLES[abi], "CMAKE_C_COMPILER_WORKS": "1",
        "CMAKE_SHARED_LINKER_FLAGS": f"-fuse-ld=lld -nostdlib -L{tmp_path}/system",
    }  # fmt: skip
    system = tmp_path / "system"
    system.mkdir()
    for name in ("m", "log"):  # stand-ins with nothing in them, for what the kit names with -l
        (system / f"lib{name}.a").write_bytes(b"!<arch>\n")
    words = ["cmake", "-S", tmp_path, "-B", tmp_path / "build", *(f"-D{name}={value}" for name, value in flags.items())]
    for step in (words, ["cmake", "--build", tmp_path / "build"]):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    app = lief.parse(tmp_path / "build/libwith_aar.so")
    assert "libkit.so" in app.libraries
    whole = lief.parse(tmp_path / "build/libwith_kit.so")
    assert {one.name for one in whole.exported_symbols} == {"tiny_f32___tvm_ffi__library_bin"}
    assert sum(one.size for one in whole.sections if one.name == ".init_array") == 2 * (
        4 if abi == "armeabi-v7a" else 8
    )
