"""Archives, dynamic libraries and shared objects, without an app around them."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from app_builders import MODELS, OLD_LOADER, fat, program, write_folder

from pipeline.binary.ar import Member, write_archive
from pipeline.errors import FormatError
from pipeline.reports.app_report import text

pytestmark = pytest.mark.tvm


def states(report):
    return [(m.prefix, m.platform, m.arch, m.state) for m in report.models]


def test_an_archive_of_whole_models(linker, verify):
    path = linker().archive()
    report = verify(path)
    assert report.ok
    assert states(report) == [(prefix, "ios", "arm64", "alive") for prefix in MODELS]
    assert report.checks == ()


@pytest.mark.parametrize(("kept", "lost"), [(0, "blob"), (1, "functions")])
def test_an_archive_with_half_a_model(linker, tmp_path, verify, kept, lost):
    data = linker().objects["tiny_model_a_"][kept]
    path = tmp_path / "libmodels.a"
    path.write_bytes(write_archive([Member("tiny_model_a_.o", data)], "darwin"))
    (model,) = verify(path, "tiny_model_a_").models
    assert model.state == "half"
    assert f"the constructor of the {lost} is gone" in model.saw
    assert "build the archive again" in model.hint


def test_an_archive_without_the_model(linker, verify):
    report = verify(linker().archive(["tiny_model_b_"]), "tiny_model_a_,another_model_")
    assert [(model.state, "build the archive again" in model.hint) for model in report.models] == [
        ("wrong-name", False),
        ("not-linked", True),
    ]


def test_an_archive_with_objects_for_two_platforms(linker, tmp_path, verify):
    (host, _), (_, blob) = linker("ios").objects["tiny_model_a_"], linker("ios-simulator").objects["tiny_model_a_"]
    path = tmp_path / "libmodels.a"
    path.write_bytes(write_archive([Member("a.o", host), Member("b.o", blob)], "darwin"))
    (check,) = [check for check in verify(path, "tiny_model_a_").checks if check.state == "wrong"]
    assert check.saw == "holds objects for ios and ios-simulator"


def test_every_slice_of_a_fat_archive(linker, tmp_path, verify):
    path = tmp_path / "libmodels.a"
    arm, intel = linker("maccatalyst", "arm64"), linker("maccatalyst", "x86_64")
    path.write_bytes(fat(arm64=arm.archive().read_bytes(), x86_64=intel.archive(["tiny_model_a_"]).read_bytes()))
    assert states(verify(path)) == [
        ("tiny_model_a_", "maccatalyst", "x86_64", "alive"),
        ("tiny_model_a_", "maccatalyst", "arm64", "alive"),
        ("tiny_model_b_", "maccatalyst", "x86_64", "not-linked"),
        ("tiny_model_b_", "maccatalyst", "arm64", "alive"),
    ]


def test_an_xcframework_is_checked_platform_by_platform(linker, tmp_path, verify):
    slices = {"ios-arm64": linker("ios"), "ios-arm64-simulator": linker("ios-simulator")}
    files = {f"m.xcframework/{name}/libm.a": link.archive().read_bytes() for name, link in slices.items()}
    files["m.xcframework/ios-arm64-simulator/libm.a"] = (
        slices["ios-arm64-simulator"].archive(["tiny_model_a_"]).read_bytes()
    )
    assert states(verify(write_folder(tmp_path, files))) == [
        ("tiny_model_a_", "ios", "arm64", "alive"),
        ("tiny_model_a_", "ios-simulator", "arm64", "alive"),
        ("tiny_model_b_", "ios", "arm64", "alive"),
        ("tiny_model_b_", "ios-simulator", "arm64", "not-linked"),
    ]


def test_a_dynamic_library_alone_cannot_tell_its_runtime(linker, tmp_path, verify):
    path = tmp_path / "libmodels.dylib"
    path.write_bytes(linker().link("-undefined", "dynamic_lookup", kind="dylib"))
    report = verify(path)
    assert report.ok, text(report)
    assert {(check.check, check.state) for check in report.checks} == {
        ("registration", "unknown"),
        ("runtime", "unknown"),
    }


def test_a_program_is_held_against_the_runtime_that_it_loads(linker, tmp_path, verify):
    link, name = linker(), "libtvm_runtime.dylib"
    library, old, chat = tmp_path / name, tmp_path / "old" / name, tmp_path / "chat"
    installed = ("-install_name", f"@rpath/{name}")
    library.write_bytes(link.link(*installed, models=(), kind="dylib", runtime=link.runtime()))
    old.parent.mkdir()
    runtime = link.runtime(registration="TVMBackendRegisterSystemLibSymbol", loader=OLD_LOADER)
    old.write_bytes(link.link(*installed, models=(), kind="dylib", runtime=runtime))
    chat.write_bytes(link.link(library))
    both = ",".join(MODELS)
    alone = {check.check: check for check in verify(chat).checks}
    assert alone["registration"].state == "unknown"
    assert f"doit verify-app chat {name}" in alone["registration"].hint
    assert {check.check: check.state for check in verify(chat, both, library).checks} == {"runtime": "ok"}
    assert not verify(chat, both, old).ok
    with pytest.raises(FormatError, match=r"nothing in it loads other\.dylib"):
        verify(chat, both, library.rename(tmp_path / "other.dylib"))


@pytest.fixture
def shared_object(model_objects, tmp_path):
    """Link the Android models into a shared object: `shared_object("--whole-archive", export="*bin")`."""

    def make(*, whole=True, export="*__tvm_ffi__library_bin", strip=False):
        objects = model_objects["aarch64-linux-android24"]
        archive, script, out = tmp_path / "libmodels.a", tmp_path / "models.map", tmp_path / "libchat.so"
        members = [Member(p + n, d) for p in MODELS for n, d in zip(("lib0.o", "devc.o"), objects[p], strict=True)]
        archive.write_bytes(write_archive(members, "gnu"))
        script.write_text(f"{{ global: {export}; local: *; }};\n")
        words = ["--whole-archive", archive] if whole else [archive]
        command = [program("ld.lld"), "-shared", "--gc-sections", f"--version-script={script}", *words, "-o", out]
        subprocess.run(command, check=True)
        if strip:
            subprocess.run([program("llvm-strip"), "--strip-all", out], check=True)
        return out

    return make


def test_a_shared_object_for_android(shared_object, verify):
    report = verify(shared_object())
    assert report.ok, text(report)
    assert states(report) == [(prefix, None, "aarch64", "alive") for prefix in MODELS]
    assert verify(shared_object(strip=True)).ok


def test_a_shared_object_that_was_not_linked_whole(shared_object, verify):
    report = verify(shared_object(whole=False))
    assert {model.state for model in report.models} == {"not-linked"}
    assert "--whole-archive" in report.models[0].hint


@pytest.mark.parametrize("strip", [False, True])
def test_a_shared_object_that_hides_its_models(shared_object, verify, strip):
    report = verify(shared_object(export="JNI_*", strip=strip))
    assert {model.state for model in report.models} == {"stripped"}
    assert "global in the version script" in report.models[0].hint


def test_the_runtime_of_the_wheel_is_known_as_one(verify):
    package = find_spec("tvm_ffi")
    library = Path(package.origin).parent / "lib" / "libtvm_ffi.so" if package else Path("none")
    if not library.is_file():
        pytest.skip("no tvm_ffi for Linux is installed")
    report = verify(library, "")
    (image,) = report.contents.images
    assert "ffi.Module.load_from_bytes." in image.signatures.families
    assert not image.signatures
    assert "TVMFFIEnvModRegisterSystemLibSymbol" in image.exported


def test_a_lone_program_may_find_its_runtime_in_a_library(linker, tmp_path, verify):
    link = linker()
    path = tmp_path / "chat"
    path.write_bytes(link.link("-undefined", "dynamic_lookup"))
    assert {check.state for check in verify(path).checks} == {"wrong"}
    runtime = tmp_path / "libtvm_runtime.dylib"
    runtime.write_bytes(
        link.link(
            "-install_name",
            "@rpath/libtvm_runtime.dylib",
            models=[],
            force_load=False,
            runtime=link.runtime(),
            kind="dylib",
        )
    )
    path.write_bytes(link.link("-undefined", "dynamic_lookup", "-needed_library", runtime))
    assert {check.state for check in verify(path).checks} == {"unknown"}
