"""`doit doctor` in a project with a runtime: what this machine lacks for it is said before a build fails over it."""

from __future__ import annotations

import json

import pytest
from projects import DODO, Project

TARGETS = """version: 1
models:
  other: {prebuilt: {ios: other.a, web: other.a, mac: other.a}, system_lib_prefix: other_model_}
backends:
  ios: {preset: iphone}
  web: {preset: webgpu}
  mac: {preset: macos}
matrix: {model: [other], backend: [ios, web, mac]}
runtime: {source: $MLC_LLM_SOURCE_DIR}
products:
  app: {kind: xcframework, backends: [ios]}
  page: {kind: web, backends: [web]}
  tree: {kind: layout, backends: [ios, mac], layout: {ios: {library: "{model}.tar"}, mac: {library: "{model}.dylib"}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project whose checkout has a part in Rust, on a machine without any tool."""
    home = tmp_path_factory.mktemp("doctor")
    root = home / "project"
    (home / "mlc-llm/3rdparty/tokenizers-cpp/rust").mkdir(parents=True)
    root.mkdir()
    (root / "targets.yaml").write_text(TARGETS)
    (root / "dodo.py").write_text(DODO)
    (root / "other.a").write_bytes(b"!<arch>\n")
    return Project(root, {"PATH": str(root), "MLC_LLM_SOURCE_DIR": str(home / "mlc-llm")})


@pytest.mark.tvm
def test_what_this_machine_lacks_and_what_that_costs(project):
    run = project.doit("doctor", "--json")
    assert run.status == 1
    said = json.loads(run.output)
    for name in ("xcodebuild", "metal:iphoneos", "ndk", "emcc", "ld64.lld", "cargo"):
        assert said["tools"][name]["version"] is None
        assert said["tools"][name]["cost"]
        assert said["tools"][name]["hint"]
    needed = "\n".join(said["needed"])
    assert "the runtime of ios needs CMake\n  hint: pip install cmake" in needed
    assert "the runtime of ios needs Xcode\n  hint: build on a Mac" in needed
    assert "the runtime of ios needs Cargo" in needed
    assert "the modules of web need Emscripten" in needed
    assert "the shared libraries of tree need LLD, the linker for Mach-O" in needed
    assert "toolchain" not in needed, "one that was not probed yet is no broken one"
    assert said["toolchains"]["current"]["codegens"]


def test_a_checkout_that_no_variable_names(project):
    run = project.doit("doctor", env={"MLC_LLM_SOURCE_DIR": ""})
    assert run.status == 3
    assert "the variable MLC_LLM_SOURCE_DIR is not set" in run.output
    assert "hint: set it to a checkout: export MLC_LLM_SOURCE_DIR=/path/to/checkout" in run.output
