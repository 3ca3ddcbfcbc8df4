"""Kits that bring a shared runtime along: programs find it where it was linked, and where it was installed."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys

import pytest
from fake_kits import FAKE_RUNTIME, HOST, MODELS, REGISTERED
from fake_models import run_tool

from pipeline.documents.link_json import LinkJson
from pipeline.errors import StepError
from pipeline.steps import linkkit

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the host of these kits is Linux on x86-64"
)

CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(app C)
find_package(models CONFIG REQUIRED PATHS "{kit}")
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
add_executable(app main.c)
target_link_libraries(app PRIVATE slipway::models)
install(TARGETS app DESTINATION bin)
install(FILES ${{slipway_models_RUNTIME_FILES}} DESTINATION lib)
"""

CARGO = """
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[workspace]
[dependencies]
slipway-models = {{ path = "{kit}/rust", default-features = false }}
"""

RPATH = """
fn main() { println!("cargo:rustc-link-arg=-Wl,-rpath,{}", std::env::var("DEP_SLIPWAY_MODELS_RUNTIME").unwrap()); }
"""


@pytest.fixture
def runtime(tmp_path):
    """What the step leaves: two libraries, of which one is loaded though nothing refers to it, and a header."""
    folder = tmp_path / "runtime"
    (folder / "include/tvm").mkdir(parents=True)
    (folder / "include/tvm/api.h").write_text("#pragma once\n")
    loaded = '#include <stdio.h>\n__attribute__((constructor)) static void loaded(void) { puts("runtime"); }\n'
    listed = []
    for name, text in {"tvm_runtime": loaded, "tvm_ffi": FAKE_RUNTIME}.items():
        source, file = tmp_path / f"{name}.c", f"lib{name}.so"
        source.write_text(text)
        run_tool("cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", source, "-o", folder / file)
        about = {"sha256": "", "size": 0, "whole": False, "registrations": [], "shared": True}
        listed.append({"name": name, "file": file, **about})
    (folder / "runtime.json").write_text(json.dumps({"backend": HOST, "libraries": listed, "tvm": "0.27.0"}))
    return folder


def test_the_kit_has_the_libraries_their_flags_and_the_headers(kit):
    (archive,) = LinkJson.read(kit).archives
    assert [(one.archive, one.shared) for one in archive.runtime] == [
        ("host/libtvm_runtime.so", True),
        ("host/libtvm_ffi.so", True),
    ]
    assert (kit / "include/tvm/api.h").is_file()
    words = [*archive.linker_flags, *(flag for one in archive.runtime for flag in one.linker_flags)]
    given = [word for flag in words for word in ("-Xlinker", flag)]
    run_tool("cc", "-shared", "-o", kit / "out.so", "-Wl,--as-needed", *given, cwd=kit)
    said = subprocess.run(["readelf", "-d", kit / "out.so"], capture_output=True, text=True, check=True).stdout
    assert "[libtvm_runtime.so]" in said, "nothing refers to it, and it is loaded"
    assert "[libtvm_ffi.so]" in said


def test_a_program_of_cmake_runs_where_it_is_built_and_where_it_is_installed(kit, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(CMAKE.format(kit=kit))
    (project / "main.c").write_text("int main(void) { return 0; }\n")
    run_tool("cmake", "-S", project, "-B", project / "build")
    run_tool("cmake", "--build", project / "build")
    assert set(run_tool(str(project / "build/app")).split()) >= set(REGISTERED)
    run_tool("cmake", "--install", project / "build", "--prefix", tmp_path / "installed")
    shutil.rmtree(kit)
    (tmp_path / "installed").rename(tmp_path / "elsewhere")
    assert set(run_tool(str(tmp_path / "elsewhere/bin/app")).split()) >= set(REGISTERED)


@pytest.mark.skipif(shutil.which("cargo") is None, reason="there is no cargo")
def test_a_program_of_cargo_runs_by_itself_with_an_rpath_of_its_own(kit, tmp_path):
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    (app / "Cargo.toml").write_text(CARGO.format(kit=kit))
    (app / "build.rs").write_text(RPATH)
    (app / "src/main.rs").write_text("fn main() { assert_eq!(slipway_models::MODELS.len(), 2); }\n")
    run_tool("cargo", "build", "--offline", "--manifest-path", app / "Cargo.toml")
    assert set(run_tool(str(app / "target/debug/app")).split()) >= set(REGISTERED)


def test_a_runtime_of_another_tvm_is_refused(job, build_archive, runtime):
    archive = build_archive(HOST, MODELS)
    document = json.loads((archive / "archive.json").read_text())
    document["models"] = [{**one, "tvm": "0.26.0"} for one in document["models"]]
    (archive / "archive.json").write_text(json.dumps(document))
    params = {"product": "models", "library": "models", "kind": "native", "backends": [HOST], "overrides": False}
    made = job(params, {"archive:host": archive, "runtime:host": runtime})
    with pytest.raises(
        StepError, match=r"was compiled with TVM 0\.26\.0, and the runtime for host is of 0\.27\.0"
    ) as caught:
        linkkit.run(made)
    assert "one toolchain" in caught.value.hint
