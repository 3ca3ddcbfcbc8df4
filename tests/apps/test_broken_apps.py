"""An app from a correct link passes, and each way to break that link is told apart, with its own hint."""

from __future__ import annotations

import json

import pytest
from app_builders import MODELS, OLD_LOADER, app, fat, write_folder, write_ipa, write_pkg

from pipeline.apps.expectations import models_of_config, models_of_link
from pipeline.reports.app_report import text

pytestmark = pytest.mark.tvm

SYMBOLS = [f"_{prefix}__tvm_ffi__library_bin" for prefix in MODELS]
CONTEXTS = [f"_{prefix}__tvm_ffi__library_ctx" for prefix in MODELS]


def states(report):
    return {model.prefix: model.state for model in report.models}


def wrong(report):
    return {check.check: check for check in report.checks if check.state == "wrong"}


def hints(report):
    return {model.hint for model in report.models}


def test_an_ipa_of_a_correct_link_passes(good_program, tmp_path, verify):
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(good_program)))
    assert report.ok, text(report)
    assert states(report) == dict.fromkeys(MODELS, "alive")
    assert not wrong(report)
    (model, _) = report.models
    assert (model.arch, model.platform, model.finding.functions) == ("arm64", "ios", 1)
    assert model.finding.kinds == ("relax.VMExecutable",)
    assert model.finding.image.path == "Payload/Chat.app/Chat"


def test_1_without_force_load_no_constructor_and_no_symbol_is_left(linker, tmp_path, verify):
    link = linker()
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(link.link(force_load=False, runtime=link.runtime()))))
    assert not report.ok
    assert states(report) == dict.fromkeys(MODELS, "not-linked")
    (hint,) = hints(report)
    assert "-force_load" in hint
    assert "OTHER_LDFLAGS[sdk=iphoneos*]" in hint
    assert not wrong(report)


def test_2_a_stripped_app_still_registers_its_models(linker, tmp_path, verify):
    link = linker()
    image = link.stripped(link.link(runtime=link.runtime(), export=["_main"]))
    assert b"_tiny_model_a___tvm_ffi__library_bin\0" not in image[image.rindex(b"__LINKEDIT") :].replace(
        b"_libtiny_model_a___tvm_ffi__library_bin\0", b""
    )
    path = write_ipa(tmp_path / "Chat.ipa", app(image))
    report = verify(path)
    assert not report.ok
    assert states(report) == dict.fromkeys(MODELS, "stripped")
    assert all(m.finding.registers and not m.finding.visible for m in report.models)
    for model, symbol in zip(report.models, SYMBOLS, strict=True):
        assert "STRIP_STYLE = non-global" in model.hint
        assert "STRIP_INSTALLED_PRODUCT = NO" in model.hint
        assert symbol in model.hint
    assert verify(path, allow_stripped=True).ok


def test_2_a_strip_that_leaves_the_exports_is_no_harm(good_program, linker, tmp_path, verify):
    image = linker().stripped(good_program)
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(image)))
    assert report.ok
    assert all(m.finding.exported and not m.finding.listed for m in report.models)
    assert "dlsym finds it" in report.models[0].saw


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(
    ("symbols", "blob", "lost"),
    [(SYMBOLS, True, "constructor of the functions"), (CONTEXTS, False, "constructor of the blob")],
)
def test_3_one_constructor_lost(linker, tmp_path, verify, *, symbols, blob, lost, strip):
    link = linker()
    keep = [word for symbol in symbols for word in ("-u", symbol)]
    image = link.link(*keep, force_load=False, runtime=link.runtime())
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(link.stripped(image) if strip else image)))
    assert states(report) == dict.fromkeys(MODELS, "half")
    for model, symbol, context in zip(report.models, SYMBOLS, CONTEXTS, strict=True):
        assert (model.finding.blob, model.finding.host) == (blob, not blob)
        assert lost in model.saw
        assert "-force_load" in model.hint
        assert f"-Wl,-u,{symbol} -Wl,-u,{context}" in model.hint


def test_4_a_wrong_model_lib_is_answered_with_the_nearest(good_program, tmp_path, verify, config):
    asked = models_of_config(config("tiny-model-a", "tiny_model_x"), "mlc-app-config.json")
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(good_program)), asked)
    assert states(report) == {"tiny_model_a_": "alive", "tiny_model_x_": "wrong-name"}
    wrong_name = report.models[1]
    assert "the nearest that is there is tiny_model_b" in wrong_name.saw
    assert 'write "model_lib": "tiny_model_b" into mlc-app-config.json' in wrong_name.hint


def test_4_the_list_inside_the_app_is_checked_without_being_asked(good_program, tmp_path, verify, config):
    files = app(good_program, more={"bundle/mlc-app-config.json": config("tiny_model_a", "tiny_model_q")})
    report = verify(write_ipa(tmp_path / "Chat.ipa", files), "")
    assert states(report) == {"tiny_model_a_": "alive", "tiny_model_q_": "wrong-name"}
    assert "Payload/Chat.app/bundle/mlc-app-config.json" in report.models[1].hint


def test_4_a_model_unlike_all_others_is_simply_not_there(good_program, tmp_path, verify, config):
    asked = models_of_config(config("qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2"), "mlc-app-config.json")
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(good_program)), asked)
    assert [model.state for model in report.models] == ["not-linked"]
    assert "tiny_model_a, tiny_model_b" in report.models[0].saw


OLD = "TVMBackendRegisterSystemLibSymbol"


@pytest.mark.parametrize(
    ("keep", "saw"),
    [(["-u", f"_{OLD}"], f"the runtime here has {OLD}"), ([], "the TVM runtime in the app has no such function")],
)
def test_5_a_runtime_that_lacks_the_models_registration_function(linker, tmp_path, verify, keep, saw):
    link = linker()
    runtime = link.runtime(registration=OLD, loader=OLD_LOADER)
    image = link.link("-undefined", "dynamic_lookup", *keep, runtime=runtime)
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(image)))
    assert not report.ok
    assert states(report) == dict.fromkeys(MODELS, "alive")
    found = wrong(report)
    assert "the models ask for TVMFFIEnvModRegisterSystemLibSymbol" in found["registration"].saw
    assert saw in found["registration"].saw
    assert "one version of TVM" in found["registration"].hint
    assert "TVM 0.21 or older" in found["runtime"].saw
    assert "one version of TVM" in found["runtime"].hint


def test_5_a_runtime_whose_virtual_machine_was_dropped(linker, tmp_path, verify):
    link = linker()
    image = link.link(runtime=link.runtime(loader="ffi.Module.load_from_bytes.const_loader"))
    found = wrong(verify(write_ipa(tmp_path / "Chat.ipa", app(image))))
    assert "no loader ffi.Module.load_from_bytes.relax.VMExecutable" in found["runtime"].saw
    assert "-force_load,<path>/libtvm_runtime.a" in found["runtime"].hint
    assert "registration" not in found


def test_5_no_runtime_at_all(linker, tmp_path, verify):
    image = linker().link("-undefined", "dynamic_lookup")
    found = wrong(verify(write_ipa(tmp_path / "Chat.ipa", app(image))))
    assert "and nothing in the app has it" in found["registration"].saw
    assert "no TVM runtime at all" in found["runtime"].saw


def test_5_the_runtime_may_be_a_framework_of_the_app(linker, tmp_path, verify):
    link = linker()
    runtime = link.link(models=[], force_load=False, runtime=link.runtime(), kind="dylib")
    program = link.link("-undefined", "dynamic_lookup")
    files = app(program, more={"Frameworks/Runtime.framework/Runtime": runtime})
    assert verify(write_ipa(tmp_path / "Chat.ipa", files)).ok


@pytest.mark.parametrize(
    ("built", "claimed", "sdk"),
    [
        ("ios-simulator", "ios", "iphoneos"),
        ("ios", "ios-simulator", "iphonesimulator"),
        ("ios", "maccatalyst", "macosx"),
        ("maccatalyst", "ios", "iphoneos"),
    ],
)
def test_6_a_binary_for_another_platform_than_the_app(linker, tmp_path, verify, *, built, claimed, sdk):
    link = linker(built)
    image = link.link(runtime=link.runtime())
    report = verify(write_folder(tmp_path, app(image, platform=claimed)))
    assert not report.ok
    assert states(report) == dict.fromkeys(MODELS, "alive")
    found = wrong(report)["platform"]
    assert f"its arm64 slice is for {built}" in found.saw
    assert f"OTHER_LDFLAGS[sdk={sdk}*]" in found.hint


def test_6_a_framework_for_the_device_in_an_app_for_the_simulator(linker, tmp_path, verify):
    device, simulator = linker("ios"), linker("ios-simulator")
    models = device.link(runtime=device.runtime(), kind="dylib")
    program = simulator.link(models=[], force_load=False, runtime=simulator.runtime())
    files = app(program, platform="ios-simulator", more={"Frameworks/Models.framework/Models": models})
    report = verify(write_folder(tmp_path, files))
    assert states(report) == dict.fromkeys(MODELS, "alive")
    assert wrong(report)["platform"].where == "Chat.app/Frameworks/Models.framework/Models"


def test_every_slice_of_a_fat_program_is_checked(linker, tmp_path, verify):
    arm, intel = linker("maccatalyst", "arm64"), linker("maccatalyst", "x86_64")
    whole = {link.arch: link.link(runtime=link.runtime()) for link in (arm, intel)}
    report = verify(write_pkg(tmp_path / "Chat.pkg", app(fat(**whole), platform="maccatalyst")))
    assert report.ok, text(report)
    assert [(m.prefix, m.arch) for m in report.models] == [(p, a) for p in MODELS for a in ("x86_64", "arm64")]

    lost = whole | {"x86_64": intel.link(runtime=intel.runtime(), force_load=False)}
    report = verify(write_pkg(tmp_path / "Chat.pkg", app(fat(**lost), platform="maccatalyst")))
    assert {(m.arch, m.state) for m in report.models} == {("arm64", "alive"), ("x86_64", "not-linked")}
    assert all("OTHER_LDFLAGS[sdk=macosx*]" in m.hint for m in report.models if m.hint)


def test_a_call_of_dlsym_with_the_models_name_is_not_the_model(linker, tmp_path, verify):
    link = linker()
    keep = """
.globl _keep
_keep:
  adrp x0, l_n@PAGE
  ret
.no_dead_strip _keep
.section __TEXT,__cstring,cstring_literals
l_n: .asciz "tiny_model_a___tvm_ffi__library_bin"
.subsections_via_symbols
"""
    image = link.link(link.assemble(keep), force_load=False, runtime=link.runtime())
    assert b"tiny_model_a___tvm_ffi__library_bin\0" in image
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(image)))
    assert states(report) == dict.fromkeys(MODELS, "not-linked")


def test_a_kits_link_json_names_the_archive_to_load(linker, tmp_path, verify):
    link = linker()
    part = {"platform": "ios", "archive": "models.xcframework/ios-arm64/libmodels.a", "models": ["tiny-a"]}
    kit = {"prefixes": {"tiny-a": "tiny_model_a_"}, "archives": [part]}
    expected = models_of_link(json.dumps(kit).encode(), "link.json")
    path = write_ipa(tmp_path / "Chat.ipa", app(link.link(force_load=False, runtime=link.runtime())))
    (model,) = verify(path, expected).models
    assert (model.model, model.state) == ("tiny-a", "not-linked")
    assert "-force_load,models.xcframework/ios-arm64/libmodels.a" in model.hint


def test_a_kit_without_a_part_for_the_apps_platform(linker, tmp_path, verify):
    link = linker("ios-simulator")
    part = {"platform": "ios", "archive": "ios-arm64/libmodels.a", "models": ["tiny-a"]}
    kit = {"prefixes": {"tiny-a": "tiny_model_a_"}, "archives": [part]}
    path = write_folder(tmp_path, app(link.link(runtime=link.runtime()), platform="ios-simulator"))
    report = verify(path, models_of_link(json.dumps(kit).encode(), "link.json"))
    assert "link.json has no model for ios-simulator, only for ios" in wrong(report)["platform"].saw


def test_an_app_that_came_back_from_the_app_store_cannot_be_read(linker, tmp_path, verify):
    link = linker()
    image = bytearray(link.stripped(link.link(force_load=False, runtime=link.runtime())))
    # LC_ENCRYPTION_INFO_64 takes the place of LC_UUID, which is as long.
    at = image.index(bytes.fromhex("1b00000018000000"))
    image[at : at + 24] = bytes.fromhex("2c00000018000000") + bytes(8) + bytes.fromhex("0100000000000000")
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(bytes(image))))
    assert states(report) == dict.fromkeys(MODELS, "unreadable")
    assert "not one that came back from the App Store" in report.models[0].hint


def test_an_app_without_models_and_without_expectations_does_not_pass(linker, tmp_path, verify):
    link = linker()
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(link.link(force_load=False, runtime=link.runtime()))), "")
    assert not report.ok
    assert "no model of TVM is in it" in text(report)


def test_what_is_found_is_listed_when_nobody_expects_anything(good_program, tmp_path, verify):
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(good_program)), "")
    assert report.ok
    assert [(m.prefix, m.state) for m in report.models] == [(prefix, "alive") for prefix in MODELS]


OLD_MODEL = """
.text
_blob:
  adrp x0, _older_model___tvm_dev_mblob@PAGE
  b _TVMBackendRegisterSystemLibSymbol
_host:
  adrp x0, _older_model___tvm_dev_mblob@PAGE
  b _TVMBackendRegisterSystemLibSymbol
.section __TEXT,__const
.globl _older_model___tvm_dev_mblob
_older_model___tvm_dev_mblob: .quad 8, 0
.asciz "older_model___tvm_dev_mblob"
.asciz "older_model___tvm_module_ctx"
.section __DATA,__mod_init_func,mod_init_funcs
.quad _blob, _host
"""


def test_5_an_old_model_beside_a_new_runtime(linker, tmp_path, verify):
    """The model is a fake: objects with the names that TVM 0.18 gave them."""
    link = linker()
    image = link.link(
        link.assemble(OLD_MODEL), "-undefined", "dynamic_lookup", models=[], force_load=False, runtime=link.runtime()
    )
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(image)), "older_model")
    (model,) = report.models
    assert (model.state, model.finding.generation.name) == ("alive", "0.18")
    found = wrong(report)
    assert f"the models ask for {OLD} (TVM 0.21 or older (before 2025-08-17))" in found["registration"].saw
    assert "the runtime is of TVM 0.22 or newer" in found["runtime"].saw
    assert "older_model_ of TVM 0.21 or older" in found["runtime"].saw


@pytest.mark.parametrize(("version", "state"), [("0.22.0", "ok"), ("0.18.0", "wrong")])
def test_a_runtime_of_another_release_than_was_declared(linker, tmp_path, verify, version, state):
    link = linker()
    image = link.link(runtime=link.runtime())
    report = verify(write_ipa(tmp_path / "Chat.ipa", app(image)), runtime_version=version)
    (said,) = [check for check in report.checks if version in check.saw]
    assert (said.check, said.state) == ("runtime", state)
    assert "TVM 0.22 or newer" in said.saw
    assert report.ok is (state == "ok")


@pytest.mark.parametrize("kind", ["relax.Executable", "relax.VMExecutable"])
def test_an_old_model_beside_its_own_runtime(linker, tmp_path, verify, kind):
    link = linker()
    runtime = link.runtime(registration=OLD, loader=f"runtime.module.loadbinary_{kind}")
    image = link.link(link.assemble(OLD_MODEL), models=[], force_load=False, runtime=runtime)
    assert verify(write_ipa(tmp_path / "Chat.ipa", app(image)), "older_model").ok
