"""The kit for Xcode: ld64.lld really links with its settings, and a C compiler with its sources.

Package.swift and the podspec are only compared with what they should say: Swift and CocoaPods need a Mac.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pytest
from fake_kits import (
    BINS,
    CATALYST_ARM,
    CATALYST_X86,
    FAKE_RUNTIME,
    HOST,
    IOS,
    MAC,
    MODELS,
    PREFIXES,
    REGISTERED,
    SIMULATOR,
    balanced,
    linked,
)
from fake_models import find_tool, run_tool

from pipeline.proofs.xcconfig import Settings, linker_flags


@pytest.mark.parametrize(
    ("target", "sdk", "platform"),
    [
        (IOS, "iphoneos18.0", "ios"),
        (SIMULATOR, "iphonesimulator18.0", "ios-simulator"),
        (CATALYST_ARM, "macosx15.0", "mac-catalyst"),
        (CATALYST_X86, "macosx15.0", "mac-catalyst"),
        (MAC, "macosx15.0", "macos"),
    ],
    ids=["device", "simulator", "catalyst-arm64", "catalyst-x86_64", "mac"],
)
def test_the_xcode_settings_keep_both_objects_of_every_model(make_kit, tmp_path, target, sdk, platform):
    folder = make_kit("xcframework", [IOS, SIMULATOR, CATALYST_ARM, CATALYST_X86, MAC])
    settings = Settings((folder / "models.xcconfig").read_text(), "models.xcconfig")
    build = {"sdk": sdk, "arch": target["arch"], "config": "Release"}
    given = {"SRCROOT": str(folder.parent), "IS_MACCATALYST": "YES" if platform == "mac-catalyst" else "NO"}
    words = settings.words("OTHER_LDFLAGS", build, given)
    assert words.count("-framework") == 2
    assert "-Wl,-export_dynamic" in words
    assert settings.value("STRIP_STYLE", build, given) == "non-global"
    assert settings.value("STRIP_INSTALLED_PRODUCT", build, given) == "NO"

    flags = linker_flags(words)
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
    half = [word for word in flags if word not in {archive, "-force_load"}]
    failed = subprocess.run(
        [find_tool("ld64.lld"), *frame, stub, *half, "-o", tmp_path / "half.dylib"], capture_output=True, check=False
    )
    assert failed.returncode != 0
    assert b"undefined symbol: _tiny_bert_f32___tvm_ffi__library_bin" in failed.stderr


def test_the_entry_point_of_an_xcode_debug_dylib_stays_visible(make_kit, tmp_path):
    """Xcode's debug builds put an app into a dylib, which the launcher enters by this name; other builds lack it."""
    folder = make_kit("xcframework", [IOS])
    entry = "___debug_main_executable_dylib_entry_point"
    source = tmp_path / "entry.s"
    source.write_text(f".globl {entry}\n.p2align 2\n{entry}:\n  ret\n.build_version ios, 14, 0\n")
    run_tool("llvm-mc", "-triple=arm64-apple-ios14.0", "-filetype=obj", source, "-o", tmp_path / "entry.o")
    settings = Settings((folder / "models.xcconfig").read_text(), "models.xcconfig")
    build = {"sdk": "iphoneos18.0", "arch": "arm64", "config": "Debug"}
    flags = linker_flags(settings.words("OTHER_LDFLAGS", build, {"SRCROOT": str(folder.parent)}))
    frame = ["-dylib", "-arch", "arm64", "-platform_version", "ios", "14.0", "14.0", "-dead_strip"]
    stub = runtime_stub(tmp_path, IOS)
    run_tool("ld64.lld", *frame, stub, tmp_path / "entry.o", *flags, "-o", tmp_path / "app.debug.dylib")
    assert entry in linked(tmp_path / "app.debug.dylib")[1]


def runtime_stub(folder, target):
    system = {"ios": "ios", "ios-simulator": "ios-simulator", "maccatalyst": "maccatalyst", "macos": "macos"}
    where = f"{target['arch']}-{system[target['platform']]}"
    path = folder / "runtime.tbd"
    path.write_text(
        f"--- !tapi-tbd\ntbd-version: 4\ntargets: [ {where} ]\ninstall-name: '/usr/lib/libSystem.B.dylib'\n"
        f"exports:\n  - targets: [ {where} ]\n"
        "    symbols: [ _TVMFFIEnvModRegisterSystemLibSymbol, dyld_stub_binder ]\n...\n"
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
    (tmp_path / "main.c").write_text(FAKE_RUNTIME + "int main(void) { return 0; }\n")
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
            products: [
                .library(name: "models", targets: ["models", "modelsKit"]),
                .library(name: "modelsModels", targets: ["modelsModels"]),
            ],
            targets: [
                .binaryTarget(name: "models", path: "models.xcframework"),
                .target(
                    name: "modelsKit", dependencies: ["models"], path: "Sources/modelsKit",
                    linkerSettings: [.linkedFramework("Foundation"), .linkedFramework("Metal"),]
                ),
                .target(name: "modelsModels", dependencies: ["modelsKit"], path: "Sources/modelsModels"),
            ],
            cxxLanguageStandard: .cxx17
        )
        """,
    )
    assert (folder / "models.xcframework/Info.plist").is_file()
    include = folder / "Sources/modelsKit/include"
    assert sorted(path.name for path in include.iterdir()) == ["models.h", "models.hpp", "module.modulemap"]
    # Swift must not see the C++ header, which a module of the whole folder would have.
    assert re.findall(r'header "(.*)"', (include / "module.modulemap").read_text()) == ["models.h"]


def test_swift_has_a_class_for_each_model(make_kit, tmp_path):
    text = (make_kit("xcframework", [IOS]) / "Sources/modelsModels/models.swift").read_text()
    code = re.sub(r"//.*", "", text)
    assert balanced(code)
    assert "public final class TinyBertF32: Model" in code
    assert "public func forward(x: Tensor<Float>) throws -> Tensor<Float> {" in code
    if shutil.which("swiftc") is None:
        pytest.skip("there is no Swift compiler: the file was only looked at")
    kit = tmp_path / "my kits/models/Sources/modelsKit/include"
    run_tool("swiftc", "-typecheck", "-I", kit, tmp_path / "my kits/models/Sources/modelsModels/models.swift")


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


def test_the_header_gives_the_prefixes(make_kit, tmp_path):
    header = make_kit("xcframework", [IOS]) / "Sources/modelsKit/include/models.h"
    (tmp_path / "main.c").write_text(
        f'#include "{header}"\n#include "{header}"\n#include <stdio.h>\n'
        "int main(void) { puts(models_tiny_bert_f32_PREFIX models_tiny_llama_q4f16_1_PREFIX); return 0; }\n"
    )
    run_tool("cc", "-Wall", "-Werror", tmp_path / "main.c", "-o", tmp_path / "main")
    assert run_tool(str(tmp_path / "main")).strip() == "".join(PREFIXES)


def test_words_of_the_settings_are_shell_words(make_kit):
    # Xcode splits a list as a shell does; nothing may be left over or run together.
    text = (make_kit("xcframework", [IOS]) / "models.xcconfig").read_text()
    for line in text.splitlines():
        if line and not line.startswith("//"):
            name, _, value = line.partition(" // ")[0].partition(" =")
            assert re.fullmatch(r"[A-Z0-9_]+(\[sdk=\w+\*\])?", name)
            shlex.split(value)
