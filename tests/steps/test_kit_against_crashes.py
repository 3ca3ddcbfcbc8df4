"""What an app team set by hand against crashes in its models, symptom by symptom, and where the kit for Xcode has it.

The flags are those of an app with one model of MLC's on iPhone and Mac Catalyst. Each row is a flag or setting of its
notes; `kit` says by what it is replaced where that is not the very same.
"""

from __future__ import annotations

import json
from pathlib import Path

import fake_apple_runtime
import pytest
from fake_kits import CATALYST_ARM, CATALYST_X86, IOS, library_file
from fake_models import model

from pipeline.native.libraries import REGISTERING
from pipeline.proofs.xcconfig import Settings, linker_flags
from pipeline.steps import linkkit, xcframework

PREFIX = "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2_"
SYMBOL = f"_{PREFIX}__tvm_ffi__library_bin"
MODEL = model("qwen3", prefix=PREFIX, variant="q4f16_1")
BACKENDS = [IOS, CATALYST_ARM, CATALYST_X86]
SLICES = {"iphoneos26.0": "ios-arm64", "macosx26.0": "ios-arm64_x86_64-maccatalyst"}


@pytest.fixture
def runtime(tmp_path):
    """What the step `runtime` leaves."""

    def make(backend):
        folder = tmp_path / "runtime" / backend["name"]
        system = backend["platform"], backend["arch"], backend["deployment_target"]
        archives = fake_apple_runtime.write(folder, *system)
        names = [path.stem.removeprefix("lib") for path in archives]
        listed = [library_file(name, whole=name in REGISTERING) for name in names]
        (folder / "runtime.json").write_text(json.dumps({"backend": backend, "libraries": listed}))
        return folder

    return make


@pytest.fixture
def kit(job, build_archive, runtime, request):
    """The kit of the app's product, with the runtime unless the test says otherwise."""
    inputs = {f"archive:{one['name']}": build_archive(one, [MODEL]) for one in BACKENDS}
    if getattr(request, "param", "with") == "with":
        inputs |= {f"runtime:{one['name']}": runtime(one) for one in BACKENDS}
    params = {"product": "eison", "library": "models", "kind": "xcframework", "backends": BACKENDS, "overrides": False}
    packed = job({"product": "eison", "library": "models", "backends": BACKENDS}, inputs)
    xcframework.run(packed)
    made = job(params, {**inputs, "xcframework": packed.out})
    linkkit.run(made)
    return made.out


def build_of(sdk: str, config: str) -> dict[str, str]:
    return {"sdk": sdk, "arch": "arm64", "config": config}


def words_of(kit: Path, sdk: str, config: str, more: str = "") -> list[str]:
    """What the linker is told for an SDK, in a configuration."""
    settings = Settings((kit / "eison.xcconfig").read_text() + more, "eison.xcconfig")
    given = {"SRCROOT": "/app", "IS_MACCATALYST": "YES" if sdk.startswith("macosx") else "NO"}
    return linker_flags(settings.words("OTHER_LDFLAGS", build_of(sdk, config), given))


def has(words: list[str], *wanted: str) -> bool:
    """Whether the words follow one another in there."""
    return any(tuple(words[n : n + len(wanted)]) == wanted for n in range(len(words)))


every_sdk = pytest.mark.parametrize("sdk", SLICES)
every_config = pytest.mark.parametrize("config", ["Debug", "Release", "TestFlight"])


@every_config
@every_sdk
class TestCannotFindSystemLib:
    """Symptom 1, `Cannot find system lib …`: the library was not linked."""

    def test_force_load_of_the_models_for_each_sdk(self, kit, sdk, config):
        # OTHER_LDFLAGS[sdk=iphoneos*] -Wl,-force_load,$(PROJECT_DIR)/…/ios-arm64/libmodel_iphone.a, and [sdk=macosx*]
        archive = f"/app/eison/eison.xcframework/{SLICES[sdk]}/libeison.a"
        assert has(words_of(kit, sdk, config), "-force_load", archive)


@every_config
@every_sdk
class TestMissingModelLib:
    """Symptom 1b, `Missing model lib …` in TestFlight: the archived app was stripped of the symbol."""

    def test_u_names_the_symbol_and_that_of_the_other_object_too(self, kit, sdk, config):
        # -Wl,-u,_qwen3_…___tvm_ffi__library_bin. By itself it would keep one of the model's two objects.
        words = words_of(kit, sdk, config)
        assert has(words, "-u", SYMBOL)
        assert has(words, "-u", SYMBOL.replace("library_bin", "library_ctx"))

    def test_exported_symbols_list(self, kit, sdk, config):
        # -Wl,-exported_symbols_list,$(PROJECT_DIR)/Scripts/mlc_exported_symbols.txt
        assert has(words_of(kit, sdk, config), "-exported_symbols_list", "/app/eison/eison.exported_symbols.txt")

    def test_exported_symbol_is_a_line_of_that_list(self, kit, sdk, config):
        # -Wl,-exported_symbol,_qwen3_…: the linker adds both to one set, so the list alone says the same.
        assert "-exported_symbols_list" in words_of(kit, sdk, config)
        assert (kit / "eison.exported_symbols.txt").read_text().splitlines() == [
            "___debug_main_executable_dylib_entry_poin*",
            SYMBOL,
        ]

    def test_export_dynamic(self, kit, sdk, config):
        assert "-export_dynamic" in words_of(kit, sdk, config)

    @pytest.mark.parametrize(("key", "value"), [("STRIP_STYLE", "non-global"), ("STRIP_INSTALLED_PRODUCT", "NO")])
    def test_strip_settings_hold_in_every_configuration_that_may_be_archived(self, kit, sdk, config, key, value):
        settings = Settings((kit / "eison.xcconfig").read_text(), "eison.xcconfig")
        assert settings.value(key, build_of(sdk, config), {}) == value


class TestKeepObject:
    """Symptom 1b again: a source file with a hard reference, MLCModelLibKeep.m."""

    def test_the_keep_file_refers_to_both_objects(self, kit):
        text = (kit / "Sources/eisonKit/eison_keep.m").read_text()
        assert f'"{SYMBOL[1:]}"' in text
        assert f'"{SYMBOL[1:].replace("library_bin", "library_ctx")}"' in text

    def test_the_swift_package_compiles_it(self, kit):
        assert 'path: "Sources/eisonKit"' in (kit / "Package.swift").read_text()


@every_config
@every_sdk
class TestLoaderNotRegistered:
    """Symptom 2, `a loader of that name is not registered`: the runtime was dead-stripped, or is of another version."""

    def test_force_load_of_the_runtime_for_each_sdk(self, kit, sdk, config):
        # -Wl,-force_load,$(PROJECT_DIR)/…/libtvm_runtime.xcframework/ios-arm64/libtvm_runtime.a
        folder = f"/app/eison/tvm_runtime.xcframework/{SLICES[sdk]}"
        assert has(words_of(kit, sdk, config), "-force_load", f"{folder}/libtvm_runtime.a")

    def test_what_registers_nothing_is_linked_as_usual(self, kit, sdk, config):
        words = words_of(kit, sdk, config)
        at = words.index(f"/app/eison/tokenizers_cpp.xcframework/{SLICES[sdk]}/libtokenizers_cpp.a")
        assert words[at - 1] != "-force_load"

    @pytest.mark.parametrize("kit", ["without"], indirect=True)
    def test_a_runtime_of_the_apps_own_has_a_place_in_the_settings(self, kit, sdk, config):
        assert "libtvm_runtime.a" not in " ".join(words_of(kit, sdk, config))
        own = f'SLIPWAY_EISON_RUNTIME[sdk={sdk[:6]}*] = -force_load "$(SRCROOT)/my/libtvm_runtime.a"\n'
        assert has(words_of(kit, sdk, config, own), "-force_load", "/app/my/libtvm_runtime.a")
