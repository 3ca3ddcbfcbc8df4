"""A product for Apple's platforms that brings the runtime along: an xcframework a library, and settings that link all.

The runtime is a stand-in, assembled here; the models, archives, fat files and links are real.
"""

from __future__ import annotations

import plistlib

import pytest
import standin_apple_runtime

from pipeline.binary import fat
from pipeline.proofs.xcconfig import Settings

pytestmark = pytest.mark.tvm

BACKENDS = {
    "ios-arm64": ("iphone", "ios", "arm64", "14.0"),
    "sim-arm64": ("iphone-simulator", "ios-simulator", "arm64", "14.0"),
    "catalyst-arm64": ("macabi", "maccatalyst", "arm64", "18.0"),
    "catalyst-x86_64": ("macabi", "maccatalyst", "x86_64", "18.0"),
}
TARGETS = """\
version: 1
models:
  tiny: {{factory: recipe.py:build, weights: {{path: weights}}, variants: {{f32: {{dtype: float32}}}}}}
backends:
{backends}
matrix: {{model: [tiny], backend: [{names}]}}
products:
  kit: {{kind: xcframework, backends: [{names}]}}
runtime:
  prebuilt:
{prebuilt}
"""


@pytest.fixture
def apple(project):
    """The project with prebuilt archives of every backend; `without` leaves functions out of one's."""

    def make(functions=standin_apple_runtime.FUNCTIONS, lacking=()):
        backends, prebuilt = [], []
        for name, (preset, platform, arch, version) in BACKENDS.items():
            backends.append(f"  {name}: {{preset: {preset}, arch: {arch}}}")
            files = standin_apple_runtime.write(project.path(f"libs/{name}"), platform, arch, version, functions)
            if name in lacking:
                files = files[:-1]
            paths = ", ".join(path.relative_to(project.root).as_posix() for path in files)
            prebuilt.append(f"    {name}: [{paths}]")
        text = TARGETS.format(backends="\n".join(backends), names=", ".join(BACKENDS), prebuilt="\n".join(prebuilt))
        project.write("targets.yaml", text)
        return project

    return make


def test_every_library_becomes_an_xcframework_that_the_settings_link(apple):
    project = apple()
    run = project.ok()
    assert {f"runtime:{name}" for name in BACKENDS} <= run.built
    kit = project.path("dist/kit")
    for name in ("tvm_runtime", "tvm_ffi_static", "tokenizers_cpp"):
        bundle = kit / f"{name}.xcframework"
        entries = plistlib.loads((bundle / "Info.plist").read_bytes())["AvailableLibraries"]
        assert {one["LibraryIdentifier"] for one in entries} == {
            "ios-arm64", "ios-arm64-simulator", "ios-arm64_x86_64-maccatalyst"
        }  # fmt: skip
        assert {one["LibraryPath"] for one in entries} == {f"lib{name}.a"}
        both = fat.read_fat((bundle / "ios-arm64_x86_64-maccatalyst" / f"lib{name}.a").read_bytes(), name)
        assert sorted(one.arch for one in both) == ["arm64", "x86_64"]

    settings = Settings((kit / "kit.xcconfig").read_text(), "kit.xcconfig")
    build = {"sdk": "iphoneos18.0", "arch": "arm64", "config": "Release"}
    words = settings.words("OTHER_LDFLAGS", build, {"SRCROOT": "/app"})
    forced = [words[i + 1].removeprefix("/app/kit/") for i, word in enumerate(words) if word == "-force_load"]
    assert forced == [
        "kit.xcframework/ios-arm64/libkit.a",
        "tvm_runtime.xcframework/ios-arm64/libtvm_runtime.a",
        "tvm_ffi_static.xcframework/ios-arm64/libtvm_ffi_static.a",
    ]
    assert "/app/kit/tokenizers_cpp.xcframework/ios-arm64/libtokenizers_cpp.a" in words
    assert "-lc++" in words

    checks = {one["name"]: one for one in project.json("build/verify/kit/report.json")["checks"]}
    for name in BACKENDS:
        assert checks[f"runtime for {name}"]["state"] == "proven"
        assert checks[f"xcconfig for {name}"]["state"] == "proven"
    assert checks["Info.plist of tvm_runtime"]["state"] == "proven"
    assert project.ok().idle


def test_settings_that_forget_the_runtime_are_caught(apple):
    project = apple()
    from pipeline.kits.render import OURS

    text = (OURS / "settings.xcconfig.j2").read_text()
    assert " $({{ ID }}_RUNTIME){% for" in text
    project.write("mine/settings.xcconfig.j2", text.replace(" $({{ ID }}_RUNTIME){% for", "{% for"))
    project.edit("targets.yaml", "kind: xcframework,", "kind: xcframework, templates: mine,")
    run = project.doit()
    assert run.status != 0
    assert "runtime in xcconfig for ios-arm64" in run.output
    assert "the flags link nothing of the runtime" in run.output


def test_a_runtime_that_lacks_what_models_call_is_caught(apple):
    functions = tuple(name for name in standin_apple_runtime.FUNCTIONS if name != "TVMFFIFunctionCall")
    run = apple(functions).doit()
    assert run.status != 0
    assert "TVMFFIFunctionCall is in none of libtvm_runtime, libtvm_ffi_static, libtokenizers_cpp" in run.output


def test_slices_with_different_libraries_are_refused(apple):
    run = apple(lacking=("sim-arm64",)).doit()
    assert run.status != 0
    assert "its slices do not have the same libraries of the runtime" in run.output


def test_archives_of_another_platform_are_refused(apple):
    project = apple()
    project.edit("targets.yaml", "libs/ios-arm64/libtvm_runtime.a", "libs/sim-arm64/libtvm_runtime.a")
    run = project.doit()
    assert run.status != 0
    assert "is for platform ios-simulator, and should be for ios" in run.output
