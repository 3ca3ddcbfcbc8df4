"""Runtimes from a checkout and kernels compiled by Xcode's stand-in, in a project built by the real `doit`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import standin_checkout
import standin_xcode

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cmake") is None, reason="builds for Linux with CMake"),
]

TARGETS = """\
version: 1
models:
  tiny: {factory: recipe.py:build, weights: {path: weights}, variants: {f32: {dtype: float32}}}
backends:
  host: {preset: host}
matrix: {model: [tiny], backend: [host]}
products:
  native: {kind: native, backends: [host]}
runtime: {source: "$TVM_SOURCE_DIR"}
"""

APPLE = """\
version: 1
models:
  tiny: {factory: recipe.py:build, weights: {path: weights}, variants: {f32: {dtype: float32}}}
backends:
  ios-arm64: {preset: iphone, kernels: metallib}
  sim-arm64: {preset: iphone-simulator, kernels: metallib}
  catalyst-arm64: {preset: macabi, kernels: metallib}
  catalyst-x86_64: {preset: macabi, arch: x86_64, kernels: metallib}
matrix: {model: [tiny], backend: [ios-arm64, sim-arm64, catalyst-arm64, catalyst-x86_64]}
products:
  kit: {kind: xcframework, backends: [ios-arm64, sim-arm64, catalyst-arm64, catalyst-x86_64]}
"""


@pytest.fixture
def checkout(tmp_path):
    return standin_checkout.tvm(tmp_path / "tvm")


@pytest.fixture
def native(project, checkout):
    project.write("targets.yaml", TARGETS)
    project.env["TVM_SOURCE_DIR"] = str(checkout)
    return project


def test_a_runtime_is_built_shipped_and_held_against_the_models(native, checkout):
    before = standin_checkout.checksum(checkout)
    first = native.ok()
    assert "runtime:host" in first.built
    assert standin_checkout.checksum(checkout) == before
    report = native.json("build/verify/host/report.json")
    found = {check["name"]: check for check in report["checks"]}
    assert found["runtime"]["state"] == "proven"
    assert native.ok().idle

    part = native.json("dist/native/link.json")["archives"][0]
    assert {one["name"] for one in part["runtime"]} == {"tvm_runtime", "tvm_ffi_static"}
    program = native.write("program.c", "int main(void) { return 0; }\n")
    words = [
        word for words in (part["linker_flags"], *(one["linker_flags"] for one in part["runtime"])) for word in words
    ]
    flags = [f"-Wl,{word}" if word.startswith("-") else word for word in _joined(words)]
    kit = native.path("dist/native")
    subprocess.run(["cc", program, *flags, "-lm", "-o", native.path("program")], cwd=kit, check=True)
    said = subprocess.run([native.path("program")], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "loader relax.VMExecutable" in said
    assert "tiny_f32___tvm_ffi__library_bin" in said


def _joined(words):
    """`-u name` as one word; version scripts are for shared libraries."""
    queue = [word for word in words if not word.startswith("--version-script")]
    while queue:
        word = queue.pop(0)
        yield f"-u,{queue.pop(0)}" if word == "-u" else word


def test_an_edit_of_the_checkout_is_noticed_and_its_commit_changes_nothing(native, checkout):
    native.ok()
    source = checkout / "src/module.c"
    source.write_text(f"{source.read_text()}int more;\n")
    assert native.ok().built >= {"runtime:host", "linkkit:native"}
    assert native.ok().idle
    standin_checkout.commit(checkout)
    assert native.ok().idle
    (checkout / "src/new.c").write_text("int not_compiled;\n")
    assert native.ok().built == {"runtime:host"}
    (checkout / "config.cmake").write_text("message(FATAL_ERROR ignored)\n")
    assert native.ok().idle


def test_no_compile_waits_for_or_depends_on_the_runtime(native, checkout):
    native.ok()
    (checkout / "src/vm/module.c").write_text("int nothing_is_registered;\n")
    assert not any(name.startswith(("compile:", "params:", "archive:")) for name in native.ok().built)


def test_a_runtime_of_another_generation_is_named_before_any_app_links_it(native, checkout):
    source = checkout / "ffi/env.c"
    text = source.read_text().replace("TVMFFIEnvModRegisterSystemLibSymbol", "TVMBackendRegisterSystemLibSymbol")
    source.write_text(text)
    run = native.doit()
    assert run.status != 0
    assert "another generation of TVM" in run.output
    assert "runtime.source" in run.output


def test_a_checkout_that_is_not_there_is_an_error_of_the_matrix(native):
    run = native.doit(env={"TVM_SOURCE_DIR": ""})
    assert run.status != 0
    assert "targets.yaml:9" in run.output
    assert "TVM_SOURCE_DIR is not set" in run.output


class TestKernels:
    @pytest.fixture
    def xcode(self, tmp_path, project):
        made = standin_xcode.install(tmp_path / "stand-in xcode")
        project.write("targets.yaml", APPLE)
        project.env["PATH"] = f"{made.bin}{os.pathsep}{os.environ['PATH']}"
        return made

    def test_each_kernel_is_compiled_once_for_each_system(self, project, xcode):
        project.ok()
        systems = [call["triple"] for call in xcode.compiles]
        # Catalyst's two architectures share their kernels.
        assert sorted(set(systems)) == [
            "air64-apple-ios14.0", "air64-apple-ios14.0-simulator", "air64-apple-macos15.0"
        ]  # fmt: skip
        assert len({systems.count(system) for system in systems}) == 1
        backends = [one for part in project.json("dist/kit/link.json")["archives"] for one in part["backends"]]
        assert {one["kernels"] for one in backends} == {"metallib"}
        assert b"MTLB iphonesimulator" in project.path("build/archive/sim-arm64/libmodels.a").read_bytes()

    def test_a_new_metal_compiler_compiles_again(self, project, xcode):
        project.ok()
        xcode.forget()
        xcode.set("version", "32024.1")
        # Where Xcode itself is new, its files are; the stand-in's program must be, too.
        os.utime(xcode.bin / "xcrun")
        built = project.ok().built
        assert {name for name in built if name.startswith("compile:")} == {
            f"compile:tiny-f32@{name}" for name in ("ios-arm64", "sim-arm64", "catalyst-arm64", "catalyst-x86_64")
        }
        assert xcode.compiles

    def test_one_backend_changes_its_mind(self, project, xcode):
        project.ok()
        xcode.forget()
        project.edit("targets.yaml", "{preset: iphone, kernels: metallib}", "{preset: iphone}")
        built = project.ok().built
        assert {name for name in built if name.startswith("compile:")} == {"compile:tiny-f32@ios-arm64"}
        assert not xcode.compiles
        kinds = {
            one["name"]: one["kernels"]
            for part in project.json("dist/kit/link.json")["archives"]
            for one in part["backends"]
        }
        assert (kinds["ios-arm64"], kinds["sim-arm64"]) == ("source", "metallib")

    def test_without_xcode_the_hint_is_said(self, project, xcode):
        shutil.rmtree(xcode.bin)
        run = project.doit()
        assert run.status != 0
        assert "this machine has no Metal compiler for" in run.output
        assert "kernels: source" in run.output
