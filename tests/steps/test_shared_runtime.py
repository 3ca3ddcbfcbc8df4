"""The runtime in TVM's package, a fake here: its libraries and headers for a kit, checked against the backend."""

from __future__ import annotations

import shutil

import pytest
from fake_kits import HOST, LINUX_ARM, MAC
from fake_models import run_tool
from placed_job import PlacedJob

from pipeline.binary.objects import read_object
from pipeline.documents.codec import decode
from pipeline.documents.runtime import RuntimeManifest
from pipeline.errors import StepError
from pipeline.native.wheel import Packages
from pipeline.steps import shared_runtime
from pipeline.steps.wheel import platform_of

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc")

REGISTER = "int TVMFFIEnvModRegisterSystemLibSymbol(void) { return 0; }\n"


class Answers:
    """A worker whose toolchain has these packages; and the services that have it."""

    def __init__(self, found) -> None:
        self._found = found

    def worker(self, toolchain):
        assert toolchain == "current"
        return self

    def call(self, work, *, log):  # noqa: ARG002 - the protocol's name
        assert work.func.__name__ == "find"
        return self._found


@pytest.fixture
def package(tmp_path):
    """What `wheel.find` says of a toolchain: directories of packages, with libraries for this machine and headers."""
    for folder, library, text in (("tvm", "tvm_runtime", "int f;\n"), ("tvm_ffi", "tvm_ffi", REGISTER)):
        home = tmp_path / folder
        (home / "lib").mkdir(parents=True)
        (home / "include" / "tvm").mkdir(parents=True)
        (home / "include" / "tvm" / f"{folder}.h").write_text("#pragma once\n")
        (home / "include" / "tvm_ffi_python_helpers.h").write_text("of Python\n")
        source = tmp_path / f"{library}.c"
        source.write_text(text)
        run_tool("cc", "-shared", "-fPIC", source, "-o", home / f"lib/lib{library}.so")
    folders = {name: str(tmp_path / name) for name in ("tvm", "tvm_ffi")}
    return Packages(folders, {"apache-tvm": "0.27.0"})


@pytest.fixture
def made(tmp_path):
    def run(found, backend, wheels=(), *, own=False):
        out = tmp_path / "out"
        out.mkdir()
        params = decode(shared_runtime.Params, {"backend": backend, "toolchain": "current", "own": own}, "params")
        inputs = {f"wheel:{number}": path for number, path in enumerate(wheels)}
        job = PlacedJob(params, inputs, {}, out, tmp_path / "log.txt", Answers(found))
        return job, shared_runtime.run(job)

    return run


def test_libraries_and_headers_are_those_of_the_package(made, package):
    job, facts = made(package, HOST, own=True)
    assert facts["libraries"] == ["tvm_runtime", "tvm_ffi"]
    found = RuntimeManifest.read(job.out)
    assert found.tvm == "0.27.0"
    assert [(one.file, one.shared) for one in found.libraries] == [("libtvm_runtime.so", True), ("libtvm_ffi.so", True)]
    assert found.libraries[1].registrations == ("TVMFFIEnvModRegisterSystemLibSymbol",)
    assert read_object((job.out / "libtvm_ffi.so").read_bytes(), "x").kind == "dylib"
    headers = {path.relative_to(job.out).as_posix() for path in job.out.rglob("*.h")}
    assert headers == {"include/tvm/tvm.h", "include/tvm/tvm_ffi.h"}, "none of those for Python"


def test_a_package_for_another_machine_is_refused(made, package, tmp_path):
    with pytest.raises(
        StepError, match=r"libtvm_runtime\.so of TVM's package is for architecture x86_64, and should be"
    ):
        made(package, LINUX_ARM, [tmp_path / "tvm/lib", tmp_path / "tvm_ffi/lib"])


def test_a_package_without_the_library_is_refused(made, package, tmp_path):
    with pytest.raises(StepError, match=r"for mac-arm64 has no libtvm_runtime_metal\.dylib") as caught:
        made(package, MAC, [tmp_path / "tvm/lib", tmp_path / "tvm_ffi/lib"])
    assert "source:" in caught.value.hint


def test_a_toolchain_without_the_package_is_told_what_else_there_is(made):
    with pytest.raises(
        StepError, match="toolchain current has no package apache-tvm to take the runtime from"
    ) as caught:
        made(Packages({}, {}), HOST)
    assert "a checkout" in caught.value.hint


def test_the_machines_of_packages():
    names = [platform_of(decode(shared_runtime.Backend, one, "backend")) for one in (HOST, LINUX_ARM, MAC)]
    assert names == ["linux-x86_64", "linux-arm64", "macos-arm64"]
