"""What is no program on PATH: compilers by SDK, the NDK, a checkout; and what tells that one of them changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fake_checkout
import fake_xcode
import pytest

from pipeline.tools.finder import Finder


@pytest.fixture
def xcode(tmp_path, monkeypatch):
    made = fake_xcode.install(tmp_path / "xcode")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}/usr/bin")
    return made


@pytest.fixture
def finder(tmp_path):
    return Finder(tmp_path / "build" / "tools", checkouts={"runtime": tmp_path / "tvm"}.get)


@pytest.fixture
def no_ndk(monkeypatch):
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


def test_a_compiler_says_what_it_is_and_for_which_sdk(xcode, finder):
    assert finder.find("metal:iphoneos").version == "Fake metal version 32023.155, iphoneos 18.0"
    assert finder.find("sdk:macosx").version == "Fake clang version 1600.0, macosx 18.0"
    assert finder.find("metal:iphoneos").path == xcode.bin / "xcrun"


def test_xcode_without_its_metal_toolchain_has_no_metal(xcode, finder):
    xcode.set("no-metal", "yes")
    assert finder.find("metal:iphoneos") is None
    assert finder.find("sdk:iphoneos") is not None
    (xcode.folder / "no-metal").unlink()
    assert finder.find("metal:iphoneos") is not None


def test_no_xcode(finder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert finder.find("metal:iphoneos") is None
    assert finder.find("sdk:macosx") is None


def ndk(folder: Path, revision: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "source.properties").write_text(f"Pkg.Desc = Android NDK\nPkg.Revision = {revision}\n")
    return folder


@pytest.mark.usefixtures("no_ndk")
def test_the_newest_ndk_of_the_sdk_unless_a_variable_names_one(finder, tmp_path, monkeypatch):
    assert finder.find("ndk") is None
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    ndk(tmp_path / "sdk/ndk/9.0.1", "9.0.1")
    newest = ndk(tmp_path / "sdk/ndk/27.2.12479018", "27.2.12479018")
    (tmp_path / "sdk/ndk/28.0").mkdir()  # what a broken installation left
    assert (finder.find("ndk").path, finder.find("ndk").version) == (newest, "27.2.12479018")
    chosen = ndk(tmp_path / "mine", "26.1")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(chosen))
    assert finder.find("ndk").version == "26.1"
    assert chosen / "source.properties" in finder.watch_paths("ndk")


def test_a_checkout_is_what_is_in_it(finder, tmp_path):
    assert finder.find("checkout:runtime") is None
    checkout = fake_checkout.tvm(tmp_path / "tvm")
    found = finder.find("checkout:runtime")
    assert found.path == checkout
    assert str(tmp_path) not in found.version
    watched = finder.watch_paths("checkout:runtime")
    assert {checkout, checkout / "src/vm", checkout / "src/vm/module.c"} <= set(watched)
    (checkout / "src/vm/module.c").write_text("int changed;\n")
    assert finder.find("checkout:runtime").version != found.version


def test_another_checkout_is_none(finder):
    assert finder.find("checkout:other") is None


def test_opencl_is_a_driver_with_the_loader_and_headers_to_compile_with(finder, tmp_path, monkeypatch):
    drivers, headers, loader = tmp_path / "vendors", tmp_path / "CL", tmp_path / "lib" / "x86_64-linux-gnu"
    for folder in (drivers, headers, loader):
        folder.mkdir(parents=True)
    monkeypatch.setattr("pipeline.tools.drivers._OPENCL_DRIVERS", drivers)
    monkeypatch.setattr("pipeline.tools.drivers._OPENCL_HEADERS", (str(headers),))
    monkeypatch.setattr("pipeline.tools.drivers._OPENCL_LOADERS", (str(loader.parent),))
    for path in (drivers / "pocl.icd", headers / "opencl.h", loader / "libOpenCL.so"):
        assert finder.find("opencl") is None
        path.write_text("libpocl.so.2.10.0\n")
    (drivers / "removed.icd").symlink_to("nowhere")
    assert finder.find("opencl").version == "libpocl.so.2.10.0"
    assert {drivers, headers, loader} <= set(finder.watch_paths("opencl"))
