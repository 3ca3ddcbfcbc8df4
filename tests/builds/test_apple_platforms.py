"""Slices for every system of Apple's in one xcframework: built, linked as proof, and described for Xcode's tools."""

from __future__ import annotations

import plistlib
import re
import subprocess

import lief
import pytest
from projects import Project, tiny_project

pytestmark = pytest.mark.tvm

PLATFORMS = {"xros-arm64": 11, "xros-arm64-simulator": 12, "tvos-arm64": 3, "tvos-arm64_x86_64-simulator": 8}
PLATFORMS |= {"watchos-arm64": 4, "watchos-arm64-simulator": 9, "ios-arm64": 2}
"""Slice -> the platform's number in LC_BUILD_VERSION, as Apple's <mach-o/loader.h> has it."""

BACKENDS = """\
backends:
  vision: {preset: visionos}
  vision-sim: {preset: visionos-simulator}
  tv: {preset: tvos}
  tv-sim: {preset: tvos-simulator}
  tv-sim-x86: {preset: tvos-simulator, arch: x86_64}
  watch: {preset: watchos}
  watch-sim: {preset: watchos-simulator}
  ios: {preset: iphone}
matrix:
  model: [tiny]
  backend: [vision, vision-sim, tv, tv-sim, tv-sim-x86, watch, watch-sim, ios]
products:
  kit: {kind: xcframework, backends: [vision, vision-sim, tv, tv-sim, tv-sim-x86, watch, watch-sim, ios]}
"""


@pytest.fixture(scope="module")
def apple(tmp_path_factory) -> Project:
    project = tiny_project(tmp_path_factory.mktemp("apple") / "project")
    text = project.path("targets.yaml").read_text()
    project.write("targets.yaml", text[: text.index("backends:")] + BACKENDS)
    assert project.ok().output.count("linked, 2/2 constructors") == 8
    return project


def test_objects_are_of_their_platform(apple: Project, tmp_path):
    for name, number in PLATFORMS.items():
        if "x86_64" in name:  # a fat file, of which the proofs have looked at every part
            continue
        folder = tmp_path / name
        folder.mkdir()
        archive = apple.path(f"dist/kit/kit.xcframework/{name}/libkit.a")
        subprocess.run(["ar", "x", archive], cwd=folder, check=True)
        for path in folder.glob("*.o"):
            fat = lief.MachO.parse(path)  # the binary in it does not keep it alive
            assert fat is not None
            version = fat.at(0).build_version
            assert version is not None
            assert int(version.platform) == number


def test_xcode_is_told_of_each(apple: Project):
    plist = plistlib.loads(apple.path("dist/kit/kit.xcframework/Info.plist").read_bytes())
    assert {one["LibraryIdentifier"] for one in plist["AvailableLibraries"]} == PLATFORMS.keys()
    settings = apple.path("dist/kit/kit.xcconfig").read_text()
    for sdk in ("appletvos", "appletvsimulator", "watchos", "watchsimulator", "xros", "xrsimulator", "iphoneos"):
        assert f"_SLICE[sdk={sdk}*]" in settings


def test_package_managers_link_metal_only_where_there_is_any(apple: Project):
    package = apple.path("dist/kit/Package.swift").read_text()
    assert package.startswith("// swift-tools-version:5.9\n"), "older ones do not know visionOS"
    assert '.linkedFramework("Metal", .when(platforms: [.iOS, .tvOS, .visionOS]))' in package
    podspec = apple.path("dist/kit/kit.podspec").read_text()
    assert re.findall(r"spec\.(\w+)\.frameworks = \['Foundation', 'Metal'\]", podspec) == ["ios", "tvos", "visionos"]
    assert "spec.frameworks" not in podspec
    assert "spec.watchos.deployment_target = '26.0'" in podspec


def test_kernels_cannot_be_compiled_here_for_them(apple: Project):
    apple.edit("targets.yaml", "{preset: visionos}", "{preset: visionos, kernels: metallib}")
    assert "kernels are not compiled here for platform xros" in apple.doit("plan").output
