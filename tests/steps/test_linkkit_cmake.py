"""The kits for CMake and Android: CMake really builds with them.

The Gradle file is only looked at: running it needs an Android SDK.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
from fake_kits import (
    ANDROID,
    BINS,
    FAKE_RUNTIME,
    HOST,
    LINUX_ARM,
    MODELS,
    PREFIXES,
    REGISTERED,
    WINDOWS,
    WINDOWS_ARM,
    balanced,
    linked,
)
from fake_models import backend, find_tool, run_tool

from pipeline.binary.objects import read_object
from pipeline.kits.escaping import cmake

CMAKE_PROJECT = """
cmake_minimum_required(VERSION 3.13)
project(app C)
{prelude}
find_package(models CONFIG REQUIRED PATHS "{kit}")
message(STATUS "prefixes=${{models_PREFIXES}}")
add_executable(app main.c)
target_link_libraries(app PRIVATE slipway::models)
add_library(lib SHARED lib.c)
target_link_options(lib PRIVATE LINKER:--gc-sections -nostartfiles)
target_link_libraries(lib PRIVATE slipway::models_exports)
"""


def build_with_cmake(folder, kit, prelude="", *options):
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(prelude=prelude, kit=kit))
    (folder / "main.c").write_text(
        f"#include <models.h>\n{FAKE_RUNTIME}int main(void) {{ return !models_tiny_bert_f32_PREFIX[0]; }}\n"
    )
    (folder / "lib.c").write_text("int helper_of_the_app(void) { return 3; }\n")
    said = run_tool("cmake", "-S", folder, "-B", folder / "build", *options)
    run_tool("cmake", "--build", folder / "build")
    return said, folder / "build"


@pytest.mark.parametrize("prelude", ["", "set(CMAKE_VERSION 3.20.0)"], ids=["whole-archive-feature", "before-3.24"])
def test_cmake_links_every_model(make_kit, tmp_path, prelude):
    kit = make_kit("native", [HOST, LINUX_ARM])
    said, build = build_with_cmake(tmp_path / "project", kit, prelude)
    assert f"prefixes={';'.join(PREFIXES)}" in said
    assert sorted(run_tool(str(build / "app")).split()) == REGISTERED
    assert linked(build / "liblib.so") == (4, BINS)


@pytest.mark.parametrize("prelude", ["", "set(CMAKE_VERSION 3.20.0)"], ids=["whole-archive-feature", "before-3.24"])
def test_cmake_links_a_kit_whose_path_has_all_that_a_path_may_have(make_kit, tmp_path, prelude):
    kit = tmp_path / "it's an app, v2 (größe 模型) & #1 100% [x] {y} `z` ~+=!*<>" / "models"
    shutil.copytree(make_kit("native", [HOST]), kit)
    _, build = build_with_cmake(tmp_path / "project", kit, prelude)
    assert sorted(run_tool(str(build / "app")).split()) == REGISTERED
    assert linked(build / "liblib.so") == (4, BINS)


@pytest.mark.parametrize("odd", [";", ":", "$", '"'])
def test_cmake_is_told_where_it_could_not_link(make_kit, tmp_path, odd):
    kit = tmp_path / f"a{odd}b" / "models"
    shutil.copytree(make_kit("native", [HOST]), kit)
    text = CMAKE_PROJECT.replace("find_package(models CONFIG REQUIRED PATHS", "include(").replace(
        '{kit}"', '{kit}/modelsConfig.cmake"'
    )
    (tmp_path / "CMakeLists.txt").write_text(text.format(prelude="", kit=cmake(kit)))
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    assert "CMake cannot link files of a folder whose path has one of ; : $" in " ".join(done.stderr.split())


def test_cmake_takes_the_archive_of_the_processor_and_android_gets_16_kib_pages(make_kit, tmp_path):
    # No NDK here: its toolchain file says ANDROID_ABI, and a cross compiler for the same processor does the rest.
    kit = make_kit("android", [ANDROID])
    cross = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DANDROID_ABI=arm64-v8a"]
    cross.append(f"-DCMAKE_C_COMPILER={find_tool('aarch64-linux-gnu-gcc')}")
    _, build = build_with_cmake(tmp_path / "project", kit, "", *cross)
    assert linked(build / "liblib.so") == (4, BINS)
    info = read_object((build / "liblib.so").read_bytes(), "liblib.so")
    assert info.arch == "aarch64"
    assert info.load_alignment >= 16384


WINDOWS_PROJECT = """
cmake_minimum_required(VERSION 3.13)
project(app C)
set(CMAKE_C_STANDARD_LIBRARIES "")
{prelude}
find_package(models CONFIG REQUIRED PATHS "{kit}")
add_library(lib SHARED lib.c)
target_link_options(lib PRIVATE LINKER:/NODEFAULTLIB LINKER:/NOENTRY)
target_link_libraries(lib PRIVATE slipway::models_exports)
"""


@pytest.mark.parametrize("prelude", ["", "set(CMAKE_VERSION 3.20.0)"], ids=["whole-archive-feature", "before-3.24"])
@pytest.mark.parametrize(
    ("driver", "target"), [("clang-cl", WINDOWS), ("clang", WINDOWS_ARM)], ids=["clang-cl-x86_64", "clang-arm64"]
)
def test_cmake_links_every_model_for_windows(make_kit, tmp_path, prelude, target, driver):
    """With LLVM's stand-ins for Microsoft's compiler and linker, and without its C library."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, tool in (("lld-link", find_tool("lld-link")), (driver, find_clang())):
        (tools / name).symlink_to(tool)
    (tmp_path / "CMakeLists.txt").write_text(
        WINDOWS_PROJECT.format(prelude=prelude, kit=make_kit("native", [WINDOWS, WINDOWS_ARM]))
    )
    (tmp_path / "lib.c").write_text("int TVMFFIEnvModRegisterSystemLibSymbol(const char *n, void *s) { return 0; }\n")
    archiver = find_tool("llvm-lib" if driver == "clang-cl" else "llvm-ar")
    (tmp_path / "windows.cmake").write_text(
        "set(CMAKE_SYSTEM_NAME Windows)\nset(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
        f"set(CMAKE_SYSTEM_PROCESSOR {'AMD64' if target is WINDOWS else 'ARM64'})\n"
        f"set(CMAKE_C_COMPILER {tools / driver})\nset(CMAKE_C_COMPILER_TARGET {target['triple']})\n"
        f"set(CMAKE_AR {archiver})\nset(CMAKE_LINKER {tools / 'lld-link'})\n"
        f"set(CMAKE_RC_COMPILER {find_tool('llvm-rc')})\nset(CMAKE_MT {find_tool('llvm-mt')})\n"
    )
    build = tmp_path / "build"
    run_tool("cmake", "-S", tmp_path, "-B", build, f"-DCMAKE_TOOLCHAIN_FILE={tmp_path / 'windows.cmake'}")
    run_tool("cmake", "-E", "env", f"PATH={tools}:{os.environ['PATH']}", "cmake", "--build", build)
    info = read_object((build / "lib.dll").read_bytes(), "lib.dll")
    assert info.constructors == 4
    assert {symbol.name for symbol in info.defined} >= {*BINS}


def find_clang() -> str:
    """A clang of any version, which compiles for Windows too."""
    found = next((path for name in ("clang", "clang-19", "clang-15", "clang-14") if (path := shutil.which(name))), None)
    return found or pytest.skip("there is no clang")


def test_cmake_says_which_backends_there_are(make_kit, tmp_path):
    kit = make_kit("native", [LINUX_ARM])
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(prelude="", kit=kit))
    done = subprocess.run(
        ["cmake", "-S", project, "-B", project / "build"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "models has no models for Linux x86_64" in said
    assert "It holds: linux-arm64" in said


def test_the_version_script_lets_a_backend_lack_a_model(make_kit, tmp_path):
    kit = make_kit("native", [HOST, LINUX_ARM], per_backend={"host": MODELS[:1]})
    out = tmp_path / "lib.so"
    words = next(p for p in json.loads((kit / "link.json").read_text())["archives"] if p["name"] == "host")[
        "linker_flags"
    ]
    run_tool("ld.lld", "-shared", "--gc-sections", *words, "-o", out, cwd=kit)
    assert linked(out) == (2, BINS[:1])


def test_the_android_files(make_kit):
    kit = make_kit("android", [ANDROID])
    assert (kit / "lib/arm64-v8a/libmodels.a").is_file()
    root = ET.fromstring((kit / "AndroidManifest.xml").read_bytes())  # noqa: S314 - our own file
    (library,) = root.iter("uses-native-library")
    android = "{http://schemas.android.com/apk/res/android}"
    assert library.attrib == {f"{android}name": "libOpenCL.so", f"{android}required": "false"}
    gradle = (kit / "models.gradle").read_text()
    assert balanced(re.sub(r"//.*", "", gradle))
    assert "abiFilters 'arm64-v8a'" in gradle
    assert '"-Dmodels_DIR=${kit}"' in gradle


def test_android_without_opencl_declares_nothing(make_kit):
    kit = make_kit("android", [backend("android-cpu", "android", device={"kind": "llvm"})])
    root = ET.fromstring((kit / "AndroidManifest.xml").read_bytes())  # noqa: S314 - our own file
    assert not list(root.iter("uses-native-library"))
