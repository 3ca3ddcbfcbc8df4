"""What an app ships beside its program: every processor, every list, every package inside a package."""

from __future__ import annotations

import json
import os
import plistlib
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from app_builders import MODELS, app, program, write_folder, write_ipa

from pipeline.apps.containers import open_container
from pipeline.apps.contents import read_contents
from pipeline.apps.verdicts import judge
from pipeline.binary.ar import Member, write_archive
from pipeline.errors import SlipwayError

pytestmark = pytest.mark.tvm

STUB = {"aarch64": "aarch64-linux-android24", "x86_64": "x86_64-linux-android24"}
LOADER = """
.section .rodata
.asciz "ffi.Module.load_from_bytes.relax.VMExecutable"
.globl TVMFFIEnvModRegisterSystemLibSymbol
.globl TVMFFIErrorSetRaisedFromCStrParts
TVMFFIEnvModRegisterSystemLibSymbol:
TVMFFIErrorSetRaisedFromCStrParts:
.byte 0
"""


@pytest.fixture
def library(model_objects, tmp_path):
    """A shared object for Android: `library("aarch64", models=True, runtime=True, page=16384)`."""

    def make(arch: str = "aarch64", *, models: bool = True, runtime: bool = True, page: int = 16384) -> bytes:
        folder = tmp_path / f"{arch}-{models}-{runtime}-{page}"
        folder.mkdir(exist_ok=True)
        source, out = folder / "r.s", folder / "lib.so"
        source.write_text(LOADER if runtime else ".globl nothing\nnothing:\n.byte 0\n")
        words: list[str | Path] = [program("llvm-mc"), f"-triple={STUB[arch]}", "-filetype=obj", source, "-o"]
        subprocess.run([*words, folder / "r.o"], check=True)
        inputs: list[str | Path] = [folder / "r.o"]
        if models:
            objects = model_objects["aarch64-linux-android24"]
            members = [Member(p + n, d) for p in MODELS for n, d in zip(("lib0.o", "devc.o"), objects[p], strict=True)]
            (folder / "libm.a").write_bytes(write_archive(members, "gnu"))
            inputs += ["--whole-archive", folder / "libm.a"]
        command = [program("ld.lld"), "-shared", "-z", f"max-page-size={page}", *inputs, "-o", out]
        subprocess.run(command, check=True)
        return out.read_bytes()

    return make


def write_zip(path: Path, files: dict[str, bytes], *, stored: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def wrong(report):
    return {(check.check, check.where) for check in report.checks if check.state == "wrong"}


@pytest.mark.parametrize("expected", ["", ",".join(MODELS)])
def test_models_that_one_abi_lacks_altogether(library, tmp_path, verify, expected):
    files = {"lib/arm64-v8a/libchat.so": library(), "lib/x86_64/libchat.so": library("x86_64", models=False)}
    report = verify(write_zip(tmp_path / "chat.apk", files), expected)
    assert {(model.arch, model.state) for model in report.models} == {("aarch64", "alive"), ("x86_64", "not-linked")}
    assert not report.ok
    path = tmp_path / "chat.apk"
    contents = read_contents(open_container(path), ["lib/x86_64/*"])
    assert judge(contents, []).ok
    assert any("--exclude lib/x86_64/*: 1 left out" in note for note in contents.notes)


def test_models_that_one_slice_of_an_xcframework_lacks_altogether(linker, tmp_path, verify):
    phone, simulator = linker("ios"), linker("ios-simulator")
    other = write_archive([Member("x.o", simulator.assemble(".globl _x\n_x:\n").read_bytes())], "darwin")
    files = {"m.xcframework/ios-arm64/libm.a": phone.archive().read_bytes(),
             "m.xcframework/ios-arm64-simulator/libm.a": other}  # fmt: skip
    path = write_folder(tmp_path, files)
    for expected in ("", ",".join(MODELS)):
        report = verify(path, expected)
        assert {(model.platform, model.state) for model in report.models} == {
            ("ios", "alive"), ("ios-simulator", "not-linked")
        }  # fmt: skip


def test_another_engines_record_does_not_switch_off_the_others(good_program, tmp_path, verify):
    records = [{"model_id": "mediapipe-thing", "path": "x"}, {"model_id": "mine", "model_lib": "tiny_model_x"}]
    files = app(good_program, more={"mlc-app-config.json": json.dumps({"model_list": records}).encode()})
    path = write_ipa(tmp_path / "Chat.ipa", files)
    report = verify(path, [])
    assert [(model.model, model.state) for model in report.models] == [("mine", "wrong-name")]
    assert any("record 1 of model_list has no model_lib" in note for note in report.contents.notes)
    contents = read_contents(open_container(path), ["mine"])
    assert judge(contents, []).ok


def test_a_list_that_the_app_cannot_read_is_wrong(good_program, tmp_path, verify):
    files = app(good_program, more={"mlc-app-config.json": b'{"model_list": [,]}'})
    report = verify(write_ipa(tmp_path / "Chat.ipa", files))
    assert wrong(report) == {("list", "Payload/Chat.app/mlc-app-config.json:1:17")}


def test_an_archive_among_the_resources_of_a_framework_is_not_alive(linker, tmp_path):
    archive = linker().archive().read_bytes()
    with pytest.raises(SlipwayError, match="holds no binary"):
        read_contents(open_container(write_folder(tmp_path / "a", {"M.framework/Resources/libm.a": archive})))
    files = {"M.framework/M": archive, "M.framework/Resources/libm.a": archive}
    contents = read_contents(open_container(write_folder(tmp_path / "b", files)))
    assert [image.path for image in contents.images] == ["M.framework/M"]
    inside = {
        "m.xcframework/ios-arm64/M.framework/M": archive,
        "m.xcframework/ios-arm64/M.framework/Resources/l.a": archive,
    }
    contents = read_contents(open_container(write_folder(tmp_path / "c", inside)))
    assert [image.path for image in contents.images] == ["m.xcframework/ios-arm64/M.framework/M"]


def test_two_runtimes_in_one_app(library, tmp_path, verify):
    files = {"lib/arm64-v8a/libchat.so": library(), "lib/arm64-v8a/libtvm4j_runtime_packed.so": library(models=False)}
    path = write_zip(tmp_path / "chat.apk", files)
    report = verify(path)
    (check,) = [check for check in report.checks if check.state == "wrong"]
    assert (check.check, "libtvm4j_runtime_packed.so" in check.saw) == ("runtime", True)
    assert judge(read_contents(open_container(path), ["libtvm4j*"]), []).ok


def test_an_extension_has_a_runtime_of_its_own(good_program, tmp_path, verify):
    plist = plistlib.dumps({"CFBundleExecutable": "Share", "CFBundleSupportedPlatforms": ["iPhoneOS"]})
    more = {"PlugIns/Share.appex/Share": good_program, "PlugIns/Share.appex/Info.plist": plist}
    assert verify(write_ipa(tmp_path / "Chat.ipa", app(good_program, more=more))).ok


def test_libraries_for_pages_of_4_kib(library, tmp_path, verify):
    files = {"lib/arm64-v8a/libchat.so": library(page=4096)}
    assert wrong(verify(write_zip(tmp_path / "chat.apk", files))) == {("page-size", "lib/arm64-v8a/libchat.so")}


def test_a_library_in_the_folder_of_another_processor(library, tmp_path, verify):
    """It is alive there, and no device ever loads it."""
    files = {"lib/x86_64/libchat.so": library()}
    report = verify(write_zip(tmp_path / "chat.apk", files, stored=False))
    assert wrong(report) == {("platform", "lib/x86_64/libchat.so")}
    assert "is for arm64-v8a, and lies where devices of x86_64 look" in report.checks[0].saw + report.checks[-1].saw


def test_libraries_at_odd_places_of_an_apk(library, tmp_path, verify):
    files = {"a.txt": b"x", "lib/arm64-v8a/libchat.so": library()}
    assert wrong(verify(write_zip(tmp_path / "odd.apk", files, stored=True))) == {
        ("page-size", "lib/arm64-v8a/libchat.so")
    }
    filler = 16384 - len("a.txt") - 30 - len("lib/arm64-v8a/libchat.so") - 30
    even = write_zip(tmp_path / "even.apk", {**files, "a.txt": bytes(filler)}, stored=True)
    assert verify(even).ok


def test_a_package_inside_a_package(good_program, library, tmp_path, verify):
    ipa = write_ipa(tmp_path / "Chat.ipa", app(good_program)).read_bytes()
    assert verify(write_zip(tmp_path / "artifact.zip", {"out/Chat.ipa": ipa})).ok
    splits = {
        "splits/base-master.apk": write_zip(tmp_path / "b.apk", {"AndroidManifest.xml": b""}).read_bytes(),
        "splits/base-arm64_v8a.apk": write_zip(
            tmp_path / "s.apk", {"lib/arm64-v8a/libchat.so": library()}, stored=False
        ).read_bytes(),
    }
    report = verify(write_zip(tmp_path / "chat.apks", splits))
    assert report.ok
    assert report.contents.images[0].path == "splits/base-arm64_v8a.apk/lib/arm64-v8a/libchat.so"


# Strangers' files


WRONG_TYPES = [
    {"CFBundleExecutable": ["a"]},
    {"CFBundleExecutable": 7, "CFBundleSupportedPlatforms": 3},
    {"CFBundleSupportedPlatforms": [{"a": []}, b"x", 1.5]},
    {"DTPlatformName": {"a": 1}},
    {"AvailableLibraries": "all"},
    {"AvailableLibraries": [1, [], {"SupportedPlatform": ["ios"], "LibraryIdentifier": {}}]},
    {"AvailableLibraries": [{"SupportedPlatform": "ios", "LibraryIdentifier": 3}]},
]


@pytest.mark.parametrize("plist", WRONG_TYPES)
def test_property_lists_with_values_of_the_wrong_type(good_program, tmp_path, verify, plist):
    files = app(good_program, more={"Frameworks/X.framework/Info.plist": plistlib.dumps(plist)})
    assert verify(write_ipa(tmp_path / "Chat.ipa", files)).ok


@pytest.mark.parametrize(
    "data",
    [b"bplist00" + bytes(range(200)), b"<plist>" + b"<array>" * 50_000, b"<plist><integer>x</integer></plist>",
     b'<?xml version="1.0" encoding="nonsense"?><plist/>', b"<plist><dict><string>a</string></dict></plist>"],
)  # fmt: skip
def test_property_lists_that_are_none(good_program, tmp_path, verify, data):
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(good_program, more={"X.bundle/Info.plist": data})))
    assert report.ok
    assert any("X.bundle/Info.plist: is not a property list" in note for note in report.contents.notes)


def test_a_hundred_thousand_records_end_soon(good_program, tmp_path, verify):
    records = [{"model_id": f"m{n}", "model_lib": f"tiny_model_{n}"} for n in range(100_000)]
    files = app(good_program, more={"mlc-app-config.json": json.dumps({"model_list": records}).encode()})
    path = write_ipa(tmp_path / "Chat.ipa", files)
    began = time.monotonic()
    report = verify(path)
    assert time.monotonic() - began < 20
    assert [check.check for check in report.checks if check.state == "wrong"] == ["list"]


def test_a_program_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, verify):
    path = tmp_path / "Chat.ipa"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("Payload/C.app/C", "w") as file:
        file.write(b"\xcf\xfa\xed\xfe")
        for _ in range(300):
            file.write(bytes(1 << 20))
    with pytest.raises(SlipwayError, match="a bomb"):
        verify(path)


def test_a_pipe_and_a_device_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(SlipwayError, match=r"not a regular file|cannot be read") as caught:
            open_container(path)
        assert caught.value.hint


def test_many_names_in_one_image_are_bounded(tmp_path):
    data = bytearray(b"__tvm_ffi_" * 300_000)
    path = tmp_path / "o.s"
    path.write_text('.section .rodata\n.incbin "data"\n.section .init_array,"aw"\n.quad 0\n')
    (tmp_path / "data").write_bytes(data)
    command = [program("llvm-mc"), f"-I{tmp_path}", f"-triple={STUB['x86_64']}", "-filetype=obj", path, "-o"]
    subprocess.run([*command, tmp_path / "o.o"], check=True)
    with pytest.raises(SlipwayError, match="more than"):
        read_contents(open_container(tmp_path / "o.o"))
