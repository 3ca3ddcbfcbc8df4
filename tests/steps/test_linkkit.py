"""The link kits: what is in them, and that the tools they are written for keep every model alive with them.

CMake, Cargo, the C compilers and ld64.lld really run here. Package.swift, the podspec and the Gradle file are only
compared with what they should say: Swift, CocoaPods and Gradle need a Mac or an Android SDK.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from standin_models import FUNCTIONS, backend, find_tool, model, run_tool

from pipeline.binary.objects import read_object
from pipeline.errors import StepError
from pipeline.proofs.xcconfig import Settings, linker_words
from pipeline.steps import linkkit, xcframework

IOS = backend("ios-arm64", "ios")
SIMULATOR = backend("ios-sim-arm64", "ios-simulator")
CATALYST_ARM = backend("catalyst-arm64", "maccatalyst", version="18.0")
CATALYST_X86 = backend("catalyst-x86_64", "maccatalyst", arch="x86_64", version="18.0")
MAC = backend("mac-arm64", "macos", version="11.0")
ANDROID = backend("android-arm64", "android")
HOST = backend("host", "linux", arch="x86_64")
LINUX_ARM = backend("linux-arm64", "linux")
MODELS = [model("tiny_bert"), model("tiny_llama", variant="q4f16_1")]
BINS = ["tiny_bert_f32___tvm_ffi__library_bin", "tiny_llama_q4f16_1___tvm_ffi__library_bin"]
PREFIXES = ["tiny_bert_f32_", "tiny_llama_q4f16_1_"]

STAND_IN_RUNTIME = """
#include <stdio.h>
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) { puts(name); return symbol == 0; }
"""
REGISTERED = sorted([*BINS, *(f"__tvm_ffi_{prefix}forward" for prefix in PREFIXES)])


@pytest.fixture
def make_kit(job, build_archive, tmp_path):
    """Build archives and the kit of a product; return its directory, whose name has a space."""

    def run(kind, backends, product="models", models=MODELS, templates=None, per_backend=None):
        per_backend = per_backend or {}
        inputs = {f"archive:{b['name']}": build_archive(b, per_backend.get(b["name"], models)) for b in backends}
        params = {"product": product, "library": "models", "kind": kind, "backends": backends, "overrides": False}
        more = {"templates": templates} if templates else {}
        made = job(params, {**inputs, **more})
        linkkit.run(made)
        folder = tmp_path / "my kits" / product
        shutil.copytree(made.out, folder, dirs_exist_ok=True)
        if kind == "xcframework":
            packed = job({"product": product, "library": "models", "backends": backends}, inputs)
            xcframework.run(packed)
            shutil.copytree(packed.out, folder, dirs_exist_ok=True)
        return folder

    return run


def linked(path):
    info = read_object(path.read_bytes(), path.name)
    return info.constructors, sorted(symbol.name for symbol in info.defined)


# link.json


def test_link_json_says_all_that_a_program_needs(make_kit):
    folder = make_kit("xcframework", [CATALYST_X86, IOS, CATALYST_ARM])
    document = json.loads((folder / "link.json").read_text())
    assert document["archive"] == "libmodels.a"
    assert document["prefix_base"] == "tiny_"
    assert document["prefixes"] == {"tiny_bert-f32": PREFIXES[0], "tiny_llama-q4f16_1": PREFIXES[1]}
    assert document["target"] == "metal"
    assert document["frameworks"] == ["Foundation", "Metal"]
    bert = document["models"]["tiny_bert-f32"]
    assert bert["functions"] == FUNCTIONS
    assert bert["options"] == {"dtype": "f32"}
    assert bert["abi"] == {"generation": "2025-09", "registration": "TVMFFIEnvModRegisterSystemLibSymbol"}
    assert bert["keep_symbols"] == [BINS[0], "tiny_bert_f32___tvm_ffi__library_ctx"]
    parts = {part["name"]: part for part in document["parts"]}
    assert sorted(parts) == ["ios-arm64", "ios-arm64_x86_64-maccatalyst"]
    fat = parts["ios-arm64_x86_64-maccatalyst"]
    assert fat["architectures"] == ["arm64", "x86_64"]
    assert [one["name"] for one in fat["backends"]] == ["catalyst-arm64", "catalyst-x86_64"]
    assert [one["deployment_target"] for one in fat["backends"]] == ["18.0", "18.0"]
    for part in parts.values():
        shipped = folder / part["archive"]
        assert shipped.stat().st_size == part["size"]
        assert run_tool("sha256sum", shipped).split()[0] == part["sha256"]
        assert part["functions"] == {}


def test_a_kit_is_the_same_twice(make_kit, tmp_path):
    one = make_kit("native", [HOST, LINUX_ARM])
    first = {path.relative_to(one): path.read_bytes() for path in one.rglob("*") if path.is_file()}
    shutil.rmtree(one)
    other = make_kit("native", [LINUX_ARM, HOST])
    assert first == {path.relative_to(other): path.read_bytes() for path in other.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "backends"),
    [("xcframework", [IOS, SIMULATOR]), ("android", [ANDROID]), ("native", [HOST])],
    ids=["xcframework", "android", "native"],
)
def test_no_file_of_a_kit_has_the_name_of_a_template_left_in_it(make_kit, kind, backends):
    for path in make_kit(kind, backends).rglob("*"):
        if path.is_file() and path.suffix not in {".a", ".zip"}:
            text = path.read_text()
            assert "{%" not in text
            assert "None" not in text
            assert text.endswith("\n")
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path.name


# What does not go together


def test_backends_of_another_kind_are_refused(make_kit):
    with pytest.raises(StepError, match=r"kind android and can not hold backend host \(linux\)\n.*: native"):
        make_kit("android", [HOST])


def test_two_archives_for_one_android_abi_are_refused(make_kit):
    mali = backend("android-mali", "android")
    with pytest.raises(StepError, match="backends android-arm64 and android-mali are both for android arm64"):
        make_kit("android", [ANDROID, mali])


def test_slices_with_different_models_are_refused(make_kit):
    with pytest.raises(StepError, match=r"slice ios-arm64-simulator lacks tiny_llama-q4f16_1"):
        make_kit("xcframework", [IOS, SIMULATOR], per_backend={"ios-sim-arm64": MODELS[:1]})
    with pytest.raises(StepError, match=r"catalyst-arm64 and catalyst-x86_64 share the slice ios-arm64_x86_64-maccat"):
        make_kit("xcframework", [CATALYST_ARM, CATALYST_X86], per_backend={"catalyst-x86_64": MODELS[:1]})


# Xcode


@pytest.mark.parametrize(
    ("target", "sdk", "catalyst", "platform"),
    [
        (IOS, "iphoneos18.0", "NO", "ios"),
        (SIMULATOR, "iphonesimulator18.0", "NO", "ios-simulator"),
        (CATALYST_ARM, "macosx15.0", "YES", "mac-catalyst"),
        (CATALYST_X86, "macosx15.0", "YES", "mac-catalyst"),
        (MAC, "macosx15.0", "NO", "macos"),
    ],
    ids=["device", "simulator", "catalyst-arm64", "catalyst-x86_64", "mac"],
)
def test_the_xcode_settings_keep_both_objects_of_every_model(make_kit, tmp_path, target, sdk, catalyst, platform):
    folder = make_kit("xcframework", [IOS, SIMULATOR, CATALYST_ARM, CATALYST_X86, MAC])
    settings = Settings((folder / "models.xcconfig").read_text(), "models.xcconfig")
    build = {"sdk": sdk, "arch": target["arch"], "config": "Release"}
    given = {"SRCROOT": str(folder.parent), "IS_MACCATALYST": catalyst}
    words = settings.words("OTHER_LDFLAGS", build, given)
    assert words.count("-framework") == 2
    assert "-Wl,-export_dynamic" in words
    assert settings.value("STRIP_STYLE", build, given) == "non-global"
    assert settings.value("STRIP_INSTALLED_PRODUCT", build, given) == "NO"

    flags = linker_words(words)
    version = target["deployment_target"]
    frame = ["-dylib", "-arch", target["arch"], "-platform_version", platform, version, version, "-dead_strip"]
    stub = runtime_stub(tmp_path, target)
    run_tool("ld64.lld", *frame, stub, *flags, "-o", tmp_path / "app.dylib")
    constructors, names = linked(tmp_path / "app.dylib")
    assert constructors == 4
    assert names == [f"_{name}" for name in BINS]

    # The control: the same link without our flags loses all of it, and half a model fails it.
    archive = flags[flags.index("-force_load") + 1]
    run_tool("ld64.lld", *frame, stub, archive, "-o", tmp_path / "lost.dylib")
    assert linked(tmp_path / "lost.dylib") == (0, [])
    half = [word for word in flags if word != archive and word != "-force_load"]
    failed = subprocess.run(
        [find_tool("ld64.lld"), *frame, stub, *half, "-o", tmp_path / "half.dylib"], capture_output=True, check=False
    )
    assert failed.returncode != 0
    assert b"undefined symbol: _tiny_bert_f32___tvm_ffi__library_bin" in failed.stderr


def runtime_stub(folder, target):
    system = {"ios": "ios", "ios-simulator": "ios-simulator", "maccatalyst": "maccatalyst", "macos": "macos"}
    where = f"{target['arch']}-{system[target['platform']]}"
    path = folder / "runtime.tbd"
    path.write_text(
        f"--- !tapi-tbd\ntbd-version: 4\ntargets: [ {where} ]\ninstall-name: '/usr/lib/libSystem.B.dylib'\n"
        f"exports:\n  - targets: [ {where} ]\n    symbols: [ _TVMFFIEnvModRegisterSystemLibSymbol, dyld_stub_binder ]\n...\n"
    )
    return path


def test_an_app_may_empty_the_list_of_exported_symbols(make_kit):
    folder = make_kit("xcframework", [IOS])
    text = (folder / "models.xcconfig").read_text() + "SLIPWAY_MODELS_EXPORTS[config=Debug] =\n"
    settings = Settings(text, "app.xcconfig")
    for config, expected in (("Debug", False), ("Release", True)):
        words = settings.words("OTHER_LDFLAGS", {"sdk": "iphoneos18.0", "arch": "arm64", "config": config}, {})
        assert ("-exported_symbols_list" in words) is expected
        assert "-force_load" in words


def test_the_keep_file_pulls_both_objects_of_every_model_from_a_plain_archive(make_kit, build_archive, tmp_path):
    # The file is plain C without a word of Apple's: linked against ELF archives of the same models, it runs here.
    keep = make_kit("xcframework", [IOS]) / "Sources/modelsKit/models_keep.m"
    archive = build_archive(HOST, MODELS) / "libmodels.a"
    (tmp_path / "main.c").write_text(STAND_IN_RUNTIME + "int main(void) { return 0; }\n")
    common = ["cc", "-O2", "-Wall", "-Werror", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
    main = [tmp_path / "main.c", "-x", "c"]

    run_tool(*common, *main, keep, "-x", "none", archive, "-o", tmp_path / "with")
    assert sorted(run_tool(str(tmp_path / "with")).split()) == REGISTERED

    (tmp_path / "empty.c").write_text("typedef int nothing;\n")
    run_tool(*common, *main, tmp_path / "empty.c", "-x", "none", archive, "-o", tmp_path / "without")
    assert run_tool(str(tmp_path / "without")) == ""


def test_the_swift_package(make_kit):
    folder = make_kit("xcframework", [IOS, SIMULATOR, CATALYST_ARM, MAC])
    text = (folder / "Package.swift").read_text()
    assert text.splitlines()[0] == "// swift-tools-version:5.6"  # anywhere else SwiftPM does not see it
    code = re.sub(r"//.*", "", text)
    assert balanced(code)
    assert re.sub(r"\s+", "", code) == re.sub(
        r"\s+",
        "",
        """
        import PackageDescription
        let package = Package(
            name: "models",
            platforms: [.iOS("14.0"), .macCatalyst("18.0"), .macOS("11.0"),],
            products: [.library(name: "models", targets: ["models", "modelsKit"]),],
            targets: [
                .binaryTarget(name: "models", path: "models.xcframework"),
                .target(
                    name: "modelsKit", dependencies: ["models"], path: "Sources/modelsKit",
                    linkerSettings: [.linkedFramework("Foundation"), .linkedFramework("Metal"),]
                ),
            ]
        )
        """,
    )
    assert (folder / "models.xcframework/Info.plist").is_file()
    assert (folder / "Sources/modelsKit/include/models.h").is_file()


def test_the_podspec(make_kit):
    text = (make_kit("xcframework", [IOS, SIMULATOR, MAC]) / "models.podspec").read_text()
    code = re.sub(r"#.*", "", text)
    assert balanced(code)
    assert len(re.findall(r"\bdo\b", code)) == len(re.findall(r"^end$", code, re.MULTILINE)) == 1
    for line in (
        "spec.vendored_frameworks = 'models.xcframework'",
        "spec.ios.deployment_target = '14.0'",
        "spec.osx.deployment_target = '11.0'",
        "spec.frameworks = ['Foundation', 'Metal']",
        "'STRIP_STYLE' => 'non-global',",
        "'STRIP_INSTALLED_PRODUCT' => 'NO',",
        *(f"'-Wl,-u,_{name}'," for name in BINS),
        *(f"'-Wl,-u,_{prefix}__tvm_ffi__library_ctx'," for prefix in PREFIXES),
    ):
        assert line in text


def balanced(code):
    """Whether brackets close in order, outside of strings."""
    code = re.sub(r"""'(\\.|[^'\\])*'|"(\\.|[^"\\])*\"""", "", code)
    closing, stack = {")": "(", "]": "[", "}": "{"}, []
    for char in code:
        if char in "([{":
            stack.append(char)
        elif char in closing and (not stack or stack.pop() != closing[char]):
            return False
    return not stack


def test_the_header_gives_the_prefixes(make_kit, tmp_path):
    header = make_kit("xcframework", [IOS]) / "Sources/modelsKit/include/models.h"
    (tmp_path / "main.c").write_text(
        f'#include "{header}"\n#include "{header}"\n#include <stdio.h>\n'
        "int main(void) { puts(models_tiny_bert_f32_PREFIX models_tiny_llama_q4f16_1_PREFIX); return 0; }\n"
    )
    run_tool("cc", "-Wall", "-Werror", tmp_path / "main.c", "-o", tmp_path / "main")
    assert run_tool(str(tmp_path / "main")).strip() == "".join(PREFIXES)


# CMake

CMAKE_PROJECT = """
cmake_minimum_required(VERSION 3.13)
project(app C)
{prelude}
find_package(models CONFIG REQUIRED PATHS "{kit}")
message(STATUS "prefixes=${{models_PREFIXES}}")
add_executable(app main.c)
target_link_libraries(app PRIVATE slipway::models)
add_library(lib SHARED lib.c)
target_link_options(lib PRIVATE LINKER:--gc-sections -nostartfiles)
target_link_libraries(lib PRIVATE slipway::models_exports)
"""


def build_with_cmake(folder, kit, prelude="", *options):
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(prelude=prelude, kit=kit))
    (folder / "main.c").write_text(
        f"#include <models.h>\n{STAND_IN_RUNTIME}int main(void) {{ return !models_tiny_bert_f32_PREFIX[0]; }}\n"
    )
    (folder / "lib.c").write_text("int helper_of_the_app(void) { return 3; }\n")
    said = run_tool("cmake", "-S", folder, "-B", folder / "build", *options)
    run_tool("cmake", "--build", folder / "build")
    return said, folder / "build"


@pytest.mark.parametrize("prelude", ["", "set(CMAKE_VERSION 3.20.0)"], ids=["whole-archive-feature", "before-3.24"])
def test_cmake_links_every_model(make_kit, tmp_path, prelude):
    kit = make_kit("native", [HOST, LINUX_ARM])
    said, build = build_with_cmake(tmp_path / "project", kit, prelude)
    assert f"prefixes={';'.join(PREFIXES)}" in said
    assert sorted(run_tool(str(build / "app")).split()) == REGISTERED
    assert linked(build / "liblib.so") == (4, BINS)


def test_cmake_takes_the_archive_of_the_processor_and_android_gets_16_kib_pages(make_kit, tmp_path):
    # No NDK here: its toolchain file says ANDROID_ABI, and a cross compiler for the same processor does the rest.
    kit = make_kit("android", [ANDROID])
    cross = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DANDROID_ABI=arm64-v8a"]
    cross.append(f"-DCMAKE_C_COMPILER={find_tool('aarch64-linux-gnu-gcc')}")
    _, build = build_with_cmake(tmp_path / "project", kit, "", *cross)
    assert linked(build / "liblib.so") == (4, BINS)
    info = read_object((build / "liblib.so").read_bytes(), "liblib.so")
    assert info.arch == "aarch64"
    assert info.load_alignment >= 16384


def test_cmake_says_which_backends_there_are(make_kit, tmp_path):
    kit = make_kit("native", [LINUX_ARM])
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(prelude="", kit=kit))
    done = subprocess.run(
        ["cmake", "-S", project, "-B", project / "build"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "models has no models for Linux x86_64" in said
    assert "It holds: linux-arm64" in said


def test_the_version_script_lets_a_backend_lack_a_model(make_kit, tmp_path):
    kit = make_kit("native", [HOST, LINUX_ARM], per_backend={"host": MODELS[:1]})
    out = tmp_path / "lib.so"
    words = next(p for p in json.loads((kit / "link.json").read_text())["parts"] if p["name"] == "host")["linker_words"]
    run_tool("ld.lld", "-shared", "--gc-sections", *words, "-o", out, cwd=kit)
    assert linked(out) == (2, BINS[:1])


# Android


def test_the_android_files(make_kit):
    kit = make_kit("android", [ANDROID])
    assert (kit / "lib/arm64-v8a/libmodels.a").is_file()
    root = ElementTree.parse(kit / "AndroidManifest.xml").getroot()
    (library,) = root.iter("uses-native-library")
    android = "{http://schemas.android.com/apk/res/android}"
    assert library.attrib == {f"{android}name": "libOpenCL.so", f"{android}required": "false"}
    gradle = (kit / "models.gradle").read_text()
    assert balanced(re.sub(r"//.*", "", gradle))
    assert "abiFilters 'arm64-v8a'" in gradle
    assert '"-Dmodels_DIR=${kit}"' in gradle


def test_android_without_opencl_declares_nothing(make_kit):
    kit = make_kit("android", [backend("android-cpu", "android", device={"kind": "llvm"})])
    root = ElementTree.parse(kit / "AndroidManifest.xml").getroot()
    assert not list(root.iter("uses-native-library"))


# Rust

RUST_MAIN = """
use std::ffi::{c_char, c_int, c_void, CStr};

#[no_mangle]
pub extern "C" fn TVMFFIEnvModRegisterSystemLibSymbol(name: *const c_char, _: *mut c_void) -> c_int {
    eprintln!("{}", unsafe { CStr::from_ptr(name) }.to_str().unwrap());
    0
}

fn main() {
    for model in middle::models() {
        println!("{}={}", model.name, model.prefix);
    }
}
"""


def test_a_rust_program_two_crates_away_has_every_model(make_kit, tmp_path):
    kit = make_kit("native", [HOST, LINUX_ARM])
    for name, needs in (("middle", f'slipway-models = {{ path = "{kit}/rust" }}'), ("app", 'middle = { path = "../middle" }')):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{needs}\n[workspace]\n'
        )
    (tmp_path / "middle/src/lib.rs").write_text(
        "pub fn models() -> &'static [slipway_models::Model] { slipway_models::MODELS }\n"
    )
    (tmp_path / "middle/build.rs").write_text(
        'fn main() { println!("cargo:warning={}", std::env::var("DEP_SLIPWAY_MODELS_PREFIXES").unwrap()); }\n'
    )
    (tmp_path / "app/src/main.rs").write_text(RUST_MAIN)
    said = run_tool("cargo", "build", "--offline", "--release", "--manifest-path", tmp_path / "app/Cargo.toml")
    assert ",".join(PREFIXES) in said
    done = subprocess.run([tmp_path / "app/target/release/app"], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(done.stderr.split()) == REGISTERED
    assert done.stdout.split() == ["tiny_bert-f32=tiny_bert_f32_", "tiny_llama-q4f16_1=tiny_llama_q4f16_1_"]


def test_a_rust_target_that_is_not_in_the_kit_is_named(make_kit):
    kit = make_kit("native", [LINUX_ARM])
    done = subprocess.run(
        [find_tool("cargo"), "build", "--offline", "--manifest-path", kit / "rust/Cargo.toml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode != 0
    assert "these models are not built for x86_64-unknown-linux-gnu, only for: aarch64 on linux" in done.stderr


# The user's templates


def test_a_template_of_the_user_replaces_ours(make_kit, tmp_path):
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "exported_symbols.txt.j2").write_text("{% include '_head.j2' %}{{ product }}: {{ models | length }}\n")
    (mine / "_head.j2").write_text("# mine\n")
    kit = make_kit("xcframework", [IOS], templates=mine)
    assert (kit / "models.exported_symbols.txt").read_text() == "# mine\nmodels: 2\n"
    assert "swift-tools-version" in (kit / "Package.swift").read_text()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("one\ntwo {{ prodct }}\n", 2, "'prodct' is undefined"),
        ("{% for model in models %}\n{{ model.prefx }}\n{% endfor %}\n", 2, "has no attribute 'prefx'"),
        ("one\n{% if product %}\n", 2, "Unexpected end of template"),
        ("one\n\n{{ 1 / 0 }}\n", 3, "ZeroDivisionError"),
        ("{% include 'nowhere.j2' %}\n", 1, "includes nowhere.j2, which does not exist"),
    ],
    ids=["variable", "attribute", "syntax", "arithmetic", "include"],
)
def test_a_mistake_in_a_template_is_shown_with_its_line(make_kit, tmp_path, text, line, message):
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "podspec.j2").write_text(text)
    with pytest.raises(StepError) as caught:
        make_kit("xcframework", [IOS], templates=mine)
    said = str(caught.value)
    assert said.startswith(f"{mine / 'podspec.j2'}:{line}: template podspec.j2")
    assert message in said
    if "undefined" in message:
        assert "archive, everywhere, frameworks, kind, library, minimums, models" in said


def test_a_template_that_replaces_nothing_is_refused(make_kit, tmp_path):
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "podpsec.j2").write_text("")
    with pytest.raises(StepError, match=r"podpsec.j2 replaces none of ours\n  cure: did you mean podspec.j2\?"):
        make_kit("xcframework", [IOS], templates=mine)


def test_words_of_the_settings_are_shell_words(make_kit):
    # Xcode splits a list as a shell does; nothing may be left over or run together.
    text = (make_kit("xcframework", [IOS]) / "models.xcconfig").read_text()
    for line in text.splitlines():
        if line and not line.startswith("//"):
            name, _, value = line.partition(" // ")[0].partition(" =")
            assert re.fullmatch(r"[A-Z0-9_]+(\[sdk=\w+\*\])?", name)
            shlex.split(value)
