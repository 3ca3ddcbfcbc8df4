"""Kits that bring the runtime along: CMake and Cargo really link it, whole where it registers itself."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess

import pytest
from fake_kits import HOST, MODELS, REGISTERED, library_file
from fake_models import model, run_tool

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.objects import read_object
from pipeline.steps import linkkit

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the host of these kits is x86-64")

SOURCES = {
    # Nothing refers to the loader: it lives only where all of the library is linked.
    "tvm_runtime": """
#include <stdio.h>
int tokenize(void);
__attribute__((constructor)) static void startup(void) { printf("loader%d\\n", tokenize()); }
""",
    "tvm_ffi_static": """
#include <stdio.h>
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) { puts(name); return symbol == 0; }
""",
    "tokenizers_cpp": "int sentences(void);\nint tokenize(void) { return sentences(); }\n",
    "sentencepiece": "int sentences(void) { return 7; }\n",
}
OTHERS = [model("other_bert"), model("other_llama", variant="q4f16_1")]
OTHERS_REGISTERED = [word.replace("tiny_", "other_") for word in REGISTERED]
WHOLE = {"tvm_runtime", "tvm_ffi_static"}

CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(app C)
{prelude}
find_package(models CONFIG REQUIRED PATHS "{kit}")
add_executable(app main.c)
target_link_libraries(app PRIVATE slipway::models)
"""


@pytest.fixture
def runtime(tmp_path):
    folder = tmp_path / "runtime"
    folder.mkdir()
    listed = []
    for name, text in SOURCES.items():
        source, made = folder / f"{name}.c", folder / f"{name}.o"
        source.write_text(text)
        run_tool("cc", "-c", "-fPIC", source, "-o", made)
        (folder / f"lib{name}.a").write_bytes(write_archive([Member(made.name, made.read_bytes())], "gnu"))
        listed.append(library_file(name, whole=name in WHOLE))
    (folder / "runtime.json").write_text(json.dumps({"backend": HOST, "libraries": listed}))
    return folder


@pytest.fixture
def others(job, build_archive, runtime):
    """A second kit with the same runtime."""
    params = {"product": "others", "library": "models", "kind": "native", "backends": [HOST], "overrides": False}
    made = job(params, {"archive:host": build_archive(HOST, OTHERS), "runtime:host": runtime})
    linkkit.run(made)
    return made.out


def test_link_json_says_what_is_linked_and_in_which_order(kit):
    part = json.loads((kit / "link.json").read_text())["archives"][0]
    assert [one["name"] for one in part["runtime"]] == list(SOURCES)
    words = {one["name"]: one["linker_flags"] for one in part["runtime"]}
    assert words["tvm_runtime"] == ["--whole-archive", "host/libtvm_runtime.a", "--no-whole-archive"]
    assert words["tokenizers_cpp"] == ["host/libtokenizers_cpp.a"]
    assert {"stdc++", "pthread", "dl"} <= set(part["system_libraries"])


@pytest.mark.parametrize("prelude", ["", "set(CMAKE_VERSION 3.20.0)"], ids=["whole-archive-feature", "before-3.24"])
def test_cmake_links_models_and_runtime(kit, tmp_path, prelude):
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(CMAKE.format(kit=kit, prelude=prelude))
    (project / "main.c").write_text("int main(void) { return 0; }\n")
    run_tool("cmake", "-S", project, "-B", project / "build")
    run_tool("cmake", "--build", project / "build")
    assert sorted(run_tool(str(project / "build/app")).split()) == sorted([*REGISTERED, "loader7"])


def test_cmake_leaves_out_the_runtime_where_another_kit_brings_it(kit, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\nset(models_RUNTIME OFF)\n"
        f'find_package(models CONFIG REQUIRED PATHS "{kit}")\nadd_library(lib SHARED lib.c)\n'
        "target_link_libraries(lib PRIVATE slipway::models)\n"
    )
    (project / "lib.c").write_text("int helper_of_the_app(void) { return 3; }\n")
    run_tool("cmake", "-S", project, "-B", project / "build")
    run_tool("cmake", "--build", project / "build")
    info = read_object((project / "build/liblib.so").read_bytes(), "liblib.so")
    assert "TVMFFIEnvModRegisterSystemLibSymbol" in {symbol.name for symbol in info.undefined}


@pytest.mark.parametrize(("prelude", "whole"), [("set(models_RUNTIME OFF)", True), ("", False)])
def test_of_two_kits_with_a_runtime_one_brings_it(kit, others, tmp_path, prelude, whole):
    """Two runtimes are the same symbols twice: the link fails unless one of them is left out."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        f"{CMAKE.format(kit=kit, prelude=prelude)}\n"
        f'find_package(others CONFIG REQUIRED PATHS "{others}")\n'
        "target_link_libraries(app PRIVATE slipway::others)\n"
    )
    (project / "main.c").write_text("int main(void) { return 0; }\n")
    run_tool("cmake", "-S", project, "-B", project / "build")
    words = ["cmake", "--build", project / "build"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode == 0) == whole, done.stdout + done.stderr
    if whole:
        said = run_tool(str(project / "build/app")).split()
        assert said.count("loader7") == 1
        assert len(said) == 2 * len(REGISTERED) + 1
    else:
        assert "multiple definition of `TVMFFIEnvModRegisterSystemLibSymbol'" in done.stderr


def test_cargo_links_models_and_runtime(kit, tmp_path):
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    (app / "Cargo.toml").write_text(
        '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n'
        f'[dependencies]\nslipway-models = {{ path = "{kit}/rust" }}\n'
    )
    (app / "src/main.rs").write_text("fn main() { assert_eq!(slipway_models::MODELS.len(), 2); }\n")
    run_tool("cargo", "build", "--offline", "--release", "--manifest-path", app / "Cargo.toml")
    done = subprocess.run([app / "target/release/app"], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(done.stdout.split()) == sorted([*REGISTERED, "loader7"])


@pytest.mark.parametrize("one", ["0", ""], ids=["one-runtime", "two-runtimes"])
def test_two_crates_of_one_project_in_one_workspace(kit, others, tmp_path, one):
    """Their archives have one name, and linkers look for names; a kit may lie in the workspace of an app."""
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    (tmp_path / "Cargo.toml").write_text('[workspace]\nmembers = ["app"]\nresolver = "2"\n')
    crates = {"models": kit, "others": others}
    (app / "Cargo.toml").write_text(
        '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n'
        + "".join(f'slipway-{name} = {{ path = "{folder}/rust" }}\n' for name, folder in crates.items())
    )
    read = " + ".join(f"slipway_{name}::MODELS.len()" for name in crates)
    (app / "src/main.rs").write_text(f"fn main() {{ assert_eq!({read}, 4); }}\n")
    words = ["cargo", "build", "--offline", "--manifest-path", app / "Cargo.toml"]
    environment = {**os.environ, "MODELS_TVM_RUNTIME": one}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    if one == "0":
        assert done.returncode == 0, done.stderr
        said = run_tool(str(tmp_path / "target/debug/app")).split()
        assert sorted(said) == sorted([*REGISTERED, *OTHERS_REGISTERED, "loader7"])
    else:
        twice = "(duplicate symbol: |multiple definition of .)TVMFFIEnvModRegisterSystemLibSymbol"
        assert re.search(twice, done.stderr)


def test_a_kit_without_a_runtime_says_so(job, build_archive):
    params = {"product": "models", "library": "models", "kind": "native", "backends": [HOST], "overrides": False}
    made = job(params, {"archive:host": build_archive(HOST, MODELS)})
    linkkit.run(made)
    assert "is not part of this kit" in (made.out / "modelsConfig.cmake").read_text()
    assert "RUNTIME_LIB" in (made.out / "rust/build.rs").read_text()
