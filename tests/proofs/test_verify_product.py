"""The step on products: what the kit steps really write is proven, and each way to spoil it is seen."""

from __future__ import annotations

import hashlib
import json
import plistlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from proof_subjects import backend_params

from pipeline.errors import VerifyError
from pipeline.steps import linkkit, verify, xcframework

pytestmark = pytest.mark.tvm

APPLE = ["ios-arm64", "ios-sim-arm64", "catalyst-arm64", "catalyst-x86_64"]


@pytest.fixture
def product(job, tvm_archives, tools):
    """Build a product with the real steps into one folder; `prove()` runs the step on what is in it then."""

    class Product:
        def __init__(self, kind: str, backends: list[str], beside: Mapping[str, Path] | None = None) -> None:
            described = [backend_params(name) for name in backends]
            params = {"product": "models", "library": "models", "kind": kind, "backends": described, "overrides": False}
            self.archives = {f"archive:{name}": tvm_archives[name] for name in backends}
            framework = {}
            if kind == "xcframework":
                made = job({"product": "models", "library": "models", "backends": described}, self.archives, {})
                xcframework.run(made)
                self.framework = made.out
                framework = {"xcframework": made.out}
                self.bundle = made.out / "models.xcframework"
            made = job(params, {**self.archives, **framework, **(beside or {})}, {})
            linkkit.run(made)
            self.folder, self.inputs = made.out, {"kit": made.out, **self.archives, **framework}
            common = {"kind": "product", "product": "models", "product_kind": kind, "library": "models"}
            self.params = {**common, "backends": described}

        def prove(self, tools=tools, *, strict=True, **changes):
            made = job({**self.params, **changes}, self.inputs, tools, strict=strict)
            facts = verify.run_product(made)
            report = json.loads((made.out / "report.json").read_text())
            return facts, {check["name"]: check for check in report["checks"]}

        def fails(self, message: str) -> None:
            with pytest.raises(VerifyError, match=message):
                self.prove()

        def edit(self, name: str, old: str, new: str) -> None:
            text = (self.folder / name).read_text()
            assert old in text
            (self.folder / name).write_text(text.replace(old, new))

    return Product


@pytest.fixture
def framework(product):
    return product("xcframework", APPLE)


def test_an_xcframework_is_proven_with_its_own_flags(framework):
    facts, checks = framework.prove()
    assert set(facts["states"].values()) == {"proven"}
    assert facts["proven"] == "4 archives as proven; 12 links with its own flags, negative controls passed"
    assert checks["Info.plist"]["saw"].startswith("3 slices: ")
    for name in APPLE:
        assert "4/4 constructors; negative control passed" in checks[f"xcconfig for {name}"]["saw"]


def test_one_folder_for_both_steps_will_do(framework):
    shutil.copytree(framework.framework, framework.folder, dirs_exist_ok=True)
    framework.inputs["xcframework"] = framework.folder
    assert set(framework.prove()[0]["states"].values()) == {"proven"}


def test_a_slice_that_is_not_the_proven_archive_fails(framework):
    path = framework.bundle / "ios-arm64" / "libmodels.a"
    path.write_bytes(path.read_bytes().replace(b"tiny_model_a_lib0.o", b"tiny_model_a_lib9.o"))
    framework.fails("arm64 of ios-arm64 is not the archive of ios-arm64 that was proven")


def test_two_platforms_in_one_slice_fail(framework, tvm_archives):
    shutil.copy(tvm_archives["ios-arm64"] / "libmodels.a", framework.bundle / "ios-arm64-simulator" / "libmodels.a")
    framework.fails("ios-arm64-simulator holds objects for ios, not for ios-simulator alone")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plist: plist.update(CFBundlePackageType="FMWK"), "CFBundlePackageType is 'FMWK'"),
        (lambda plist: plist.update(XCFrameworkFormatVersion="9"), "XCFrameworkFormatVersion is '9'"),
        (lambda plist: plist.update(AvailableLibraries=[]), "AvailableLibraries is empty"),
        (lambda plist: plist["AvailableLibraries"].pop(), "is in no entry"),
        (lambda plist: plist["AvailableLibraries"][0].pop("LibraryPath"), "library 0 has no LibraryPath"),
        (lambda plist: plist["AvailableLibraries"][0].update(LibraryPath="../x.a"), "outside its folder"),
        (lambda plist: plist["AvailableLibraries"][0].update(LibraryPath="libother.a"), "libother.a is not there"),
        (lambda plist: plist["AvailableLibraries"][0].update(SupportedArchitectures=["x86_64"]), "by the rules it is"),
        (
            lambda plist: plist["AvailableLibraries"][0].update(SupportedPlatform="bridgeos"),
            "unknown platform bridgeos",
        ),
        (lambda plist: plist["AvailableLibraries"].append(plist["AvailableLibraries"][0]), "2 libraries are for ios"),
    ],
)
def test_every_rule_of_the_property_list_is_checked(framework, change, message):
    path = framework.bundle / "Info.plist"
    plist = plistlib.loads(path.read_bytes())
    change(plist)
    path.write_bytes(plistlib.dumps(plist))
    framework.fails(message)


def test_a_property_list_that_is_none_fails(framework):
    (framework.bundle / "Info.plist").write_text("{}")
    framework.fails("Info.plist cannot be read")


def test_a_zip_that_differs_fails(framework):
    packed = framework.framework / "models.xcframework.zip"
    packed.write_bytes(packed.read_bytes() + b"x")
    framework.fails("its checksum file says")


def test_a_folder_that_differs_from_the_zip_fails(framework):
    (framework.bundle / "ios-arm64" / "extra.txt").write_text("x")
    framework.fails("zip and folder differ in models.xcframework/ios-arm64/extra.txt")


def test_a_missing_zip_fails(framework):
    (framework.framework / "models.xcframework.zip.checksum").unlink()
    framework.fails("models.xcframework.zip.checksum missing")


def test_settings_without_their_flags_fail(framework):
    """As a template of a user's own might lose them."""
    framework.edit(
        "models.xcconfig", "OTHER_LDFLAGS = $(inherited) $(SLIPWAY_MODELS_LDFLAGS)", "OTHER_LDFLAGS = $(inherited)"
    )
    framework.fails("the flags name no archive")


def test_settings_that_do_not_force_anything_fail(framework):
    framework.edit("models.xcconfig", "-force_load ", "")
    framework.edit("models.xcconfig", "$(SLIPWAY_MODELS_KEEP) ", "")
    framework.fails("2/4 constructors with the flags")


def test_settings_that_strip_fail(framework):
    framework.edit("models.xcconfig", "STRIP_STYLE = non-global", "STRIP_STYLE = all")
    framework.fails("STRIP_STYLE is 'all'")


def test_settings_of_the_wrong_slice_fail(framework):
    framework.edit(
        "models.xcconfig", "[sdk=iphonesimulator*] = ios-arm64-simulator", "[sdk=iphonesimulator*] = ios-arm64"
    )
    framework.fails("not models.xcframework/ios-arm64-simulator/libmodels.a")


def test_settings_that_cannot_be_read_fail(framework):
    with (framework.folder / "models.xcconfig").open("a") as file:
        file.write("nonsense\n")
    framework.fails("models.xcconfig cannot be read: .*no setting: 'nonsense'")


def test_a_podspec_that_names_half_a_model_fails(framework):
    framework.edit("models.podspec", "      '-Wl,-u,_tiny_model_b___tvm_ffi__library_ctx',\n", "")
    framework.fails("podspec for ios-arm64 .failed.: 3/4 constructors with the flags: tiny-model-b lost")


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("Package.swift", '"models.xcframework"'),
        ("models.podspec", "'models.xcframework'"),
        ("Sources/modelsKit/models_keep.m", '"tiny_model_b___tvm_ffi__library_ctx"'),
        ("Sources/modelsKit/include/models.h", '"tiny_model_b_"'),
        ("Sources/modelsKit/include/models.hpp", '"tiny_model_b_"'),
        ("Sources/modelsKit/models.cpp", '"tiny_model_b_"'),
        ("Sources/modelsModels/models.swift", '"tiny_model_b_"'),
        ("Sources/modelsKit/include/models.hpp", '"forward"'),
        ("Sources/modelsModels/models.swift", '"forward"'),
        ("Sources/modelsKit/include/module.modulemap", '"models.h"'),
    ],
)
def test_a_source_that_does_not_name_what_it_is_for_fails(framework, name, old):
    framework.edit(name, old, '"other"')
    framework.fails(f"{Path(name).name} does not name {old}")


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("src/models_jni.cpp", "Java_slipway_models_Models_open("),
        ("java/slipway/models/Models.java", '"forward"'),
        ("modelsConfig.cmake", '/libmodels.a"'),
        ("models.gradle", "-Dmodels_DIR="),
    ],
)
def test_the_same_of_android(product, name, old):
    made = product("android", ["android-arm64"])
    made.edit(name, old, old.replace("odels", "odel").replace("forward", "backward"))
    made.fails(re.escape(f"{name} does not name {old}"))


def test_an_android_kit_may_have_other_ways(product):
    """Natives that are registered by name, and a path that is put together."""
    made = product("android", ["android-arm64"])
    made.edit("src/models_jni.cpp", "Java_", "mine_")
    made.edit("modelsConfig.cmake", "lib/arm64-v8a/libmodels.a", "lib/${ANDROID_ABI}/libmodels.a")
    made.prove()


def test_an_exports_list_with_a_name_that_is_nowhere_fails(framework):
    with (framework.folder / "models.exported_symbols.txt").open("a") as file:
        file.write("_nowhere\n")
    framework.fails("_nowhere")


@pytest.mark.parametrize(
    ("kind", "backends"), [("native", ["host", "linux-arm64"]), ("android", ["android-arm64"]), ("web", ["wasm"])]
)
def test_other_kits_are_proven_with_their_own_flags(product, kind, backends):
    facts, checks = product(kind, backends).prove()
    assert set(facts["states"].values()) == {"proven"}
    for name in backends:
        assert "4/4 constructors; negative control passed" in checks[f"link.json for {name}"]["saw"]
    if kind == "android":
        assert checks["pages of link.json for android-arm64"]["saw"] == "LOAD segments are aligned to 16384"


def test_an_archive_in_a_kit_that_was_changed_fails(product):
    made = product("native", ["host", "linux-arm64"])
    path = next(made.folder.rglob("libmodels.a"))
    path.write_bytes(path.read_bytes().replace(b"tiny_model_a_lib0.o", b"tiny_model_a_lib9.o"))
    made.fails("is not what link.json says of it")


def test_a_kit_without_the_page_size_fails(product):
    made = product("android", ["android-arm64"])
    made.edit("link.json", "max-page-size=16384", "max-page-size=4096")
    made.fails("aligned to 4096")


def test_a_kit_whose_version_script_hides_the_models_fails(product):
    made = product("android", ["android-arm64"])
    made.edit("models.map", "    tiny_model_a___tvm_ffi__library_bin;\n", "")
    made.fails("tiny-model-a lost tiny_model_a___tvm_ffi__library_bin")


def test_a_backend_without_a_part_fails(product, tvm_archives):
    made = product("native", ["host"])
    made.params["backends"].append(backend_params("linux-arm64"))
    made.inputs["archive:linux-arm64"] = tvm_archives["linux-arm64"]
    made.fails("linux-arm64 is in no archive of it")


def page_module(asked: str) -> bytes:
    """A WebAssembly module that asks the page for one function, `env.<asked>`, of type () -> ()."""
    name = asked.encode()
    wanted = b"\1\3env" + bytes([len(name)]) + name + b"\0\0"
    return b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0" + b"\2" + bytes([len(wanted)]) + wanted


@pytest.fixture
def web(product, tmp_path):
    """Build a kit with modules: subject -> module."""

    def build(modules: Mapping[str, bytes]):
        folder = tmp_path / "linked"
        folder.mkdir()
        listed = []
        for subject, data in modules.items():
            (folder / f"{subject}.wasm").write_bytes(data)
            known = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            listed.append({"subject": subject, "file": f"{subject}.wasm", **known})
        (folder / "wasm.json").write_text(json.dumps({"backend": backend_params("wasm"), "modules": listed}))
        return product("web", ["wasm"], {"wasm:wasm": folder})

    return build


MODULES = {"tiny-model-a": page_module("TVMFFIWasmSafeCall"), "tiny-model-b": page_module("__console_log")}


def test_modules_for_pages_are_compared_with_link_json(web):
    facts, checks = web(MODULES).prove()
    assert set(facts["states"].values()) == {"proven"}
    assert checks["modules"]["saw"] == "2 modules, size and SHA-256 as in link.json"
    assert checks["imports of modules"]["saw"] == "2 functions, all of the page"


def test_a_kit_without_modules_is_not_asked_about_them(product):
    _, checks = product("web", ["wasm"]).prove()
    assert "modules" not in checks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes().replace(b"log", b"gol")), r"model-b\.wasm is not what link"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"model-b\.wasm has (\d+) bytes, and (?!\1)"),
        (lambda path: path.unlink(), r"wasm/tiny-model-b\.wasm is not there"),
        (lambda path: path.rename(path.with_name("c.wasm")), r"wasm/c\.wasm is not in link\.json"),
    ],
)
def test_a_module_that_was_changed_fails_with_a_hint(web, change, message):
    made = web(MODULES)
    change(made.folder / "wasm/tiny-model-b.wasm")
    with pytest.raises(VerifyError, match=message) as caught:
        made.prove()
    assert caught.value.hint == "doit forget linkkit:models && doit linkkit:models"


def test_a_module_that_asks_for_what_no_page_has_fails(web):
    with pytest.raises(VerifyError, match=r"model-a\.wasm asks for TVMBackendAllocWorkspace, which no page") as caught:
        web({**MODULES, "tiny-model-a": page_module("TVMBackendAllocWorkspace")}).prove()
    assert "doit wasm:wasm" in caught.value.hint


def test_a_module_that_is_none_fails(web):
    with pytest.raises(VerifyError, match=r"model-a\.wasm cannot be read"):
        web({**MODULES, "tiny-model-a": b"<!DOCTYPE html>"}).prove()


def test_a_missing_linker_is_said_aloud(product):
    made = product("android", ["android-arm64"])
    facts, checks = made.prove(tools={}, strict=False)
    assert facts["proven"] == "not proven: no ld.lld found, install lld"
    assert checks["link.json for android-arm64"]["state"] == "not proven"
    assert checks["archives"]["state"] == "proven"


def test_the_products_folder_is_left_as_it_was(framework):
    before = {path: path.read_bytes() for path in Path(framework.folder).rglob("*") if path.is_file()}
    framework.prove()
    assert {path: path.read_bytes() for path in Path(framework.folder).rglob("*") if path.is_file()} == before
