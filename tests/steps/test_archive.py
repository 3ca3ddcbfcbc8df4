"""The archive step: what goes in, what is refused, and that equal objects give equal bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import pytest
from fake_models import FUNCTIONS, backend, compile_model, find_tool, model, run_tool

from pipeline.binary.ar import read_archive
from pipeline.errors import FormatError, StepError
from pipeline.steps import archive

IOS = backend("ios-arm64", "ios")
SIMULATOR = backend("ios-sim", "ios-simulator")
CATALYST = backend("catalyst", "maccatalyst", version="18.0")
MAC_X86 = backend("mac-x86", "macos", arch="x86_64", version="11.0")
LINUX = backend("linux", "linux", arch="x86_64")
LINUX_ARM = backend("linux-arm64", "linux", arch="aarch64")
BERT, LLAMA = model("bert"), model("llama")


def archived(folder):
    return (folder / "libmodels.a").read_bytes(), json.loads((folder / "archive.json").read_text())


@pytest.mark.parametrize("target", [IOS, SIMULATOR, CATALYST, MAC_X86, LINUX], ids=lambda target: target["name"])
def test_all_models_of_a_backend_are_in_one_archive(build_archive, target):
    data, document = archived(build_archive(target, [LLAMA, BERT]))

    names = [member.name for member in read_archive(data)]
    assert names == ["bert_f32_devc.o", "bert_f32_lib0.o", "llama_f32_devc.o", "llama_f32_lib0.o"]
    assert document["library"] == "libmodels.a"
    assert document["backend"] == target
    assert document["sha256"] == hashlib.sha256(data).hexdigest()
    assert document["size"] == len(data)
    assert [entry["subject"] for entry in document["models"]] == ["bert-f32", "llama-f32"]
    first = document["models"][0]
    assert first["members"] == names[:2]
    assert first["library_bin"] == "bert_f32___tvm_ffi__library_bin"
    assert first["registration"] == "TVMFFIEnvModRegisterSystemLibSymbol"
    assert first["options"] == {"dtype": "f32"}
    assert first["functions"] == FUNCTIONS
    of_the_linker = {"_GLOBAL_OFFSET_TABLE_"}
    assert set(document["undefined"]) - of_the_linker == {"TVMFFIEnvModRegisterSystemLibSymbol"}


def test_the_index_is_the_one_a_linker_wants(build_archive):
    folder = build_archive(IOS, [BERT, LLAMA])
    listed = run_tool("llvm-nm", "--print-armap", folder / "libmodels.a")
    assert "_bert_f32___tvm_ffi__library_bin in bert_f32_devc.o" in listed
    assert "_llama_f32___tvm_ffi__library_ctx in llama_f32_lib0.o" in listed


def test_equal_objects_give_equal_bytes_whatever_the_order_of_the_models(build_archive):
    one, one_document = archived(build_archive(IOS, [BERT, LLAMA]))
    other, other_document = archived(build_archive(IOS, [LLAMA, BERT]))
    assert one == other
    assert one_document == other_document


def test_two_models_with_one_prefix_are_named(build_archive):
    with pytest.raises(FormatError, match=r"(?s)bert_f32_.*bert-f32.*llama-f32"):
        build_archive(IOS, [BERT, model("llama", prefix=BERT["prefix"])])


def test_prefixes_of_which_one_begins_with_the_other_can_still_collide(build_archive, job, tmp_path):
    # `net_f32_` + `x_forward` and `net_f32_x_` + `forward` are one symbol.
    short, long = model("net"), model("netx", prefix="net_f32_x_")
    folder = compile_model(long, LINUX, tmp_path / "long")
    other = compile_model(short, LINUX, tmp_path / "short")
    source = tmp_path / "extra.c"
    source.write_text("int __tvm_ffi_net_f32_x_forward(void) { return 1; }\n")
    run_tool("cc", "-c", source, "-o", other / "net_f32_extra.o")
    made = job(
        {"library": "models", "backend": LINUX, "models": [short, long]},
        {"objects:net-f32": other, "objects:netx-f32": folder},
    )
    with pytest.raises(FormatError, match=r"__tvm_ffi_net_f32_x_forward is defined twice.*net-f32.*netx-f32"):
        archive.run(made)


@pytest.mark.parametrize(
    ("compiled", "declared", "message"),
    [
        (IOS, SIMULATOR, "is for platform ios, and should be for ios-simulator"),
        (IOS, CATALYST, "is for platform ios, and should be for maccatalyst"),
        (IOS, {**IOS, "deployment_target": "16.1"}, "is for ios from 14.0 on, and should be for 16.1"),
        (MAC_X86, {**MAC_X86, "arch": "arm64"}, "is for architecture x86_64, and should be for arm64"),
        (LINUX, IOS, "is of format elf, and should be of format macho"),
        (IOS, LINUX, "is of format macho, and should be of format elf"),
    ],
    ids=["simulator", "catalyst", "deployment-target", "arch", "elf-for-macho", "macho-for-elf"],
)
def test_an_object_for_another_backend_is_named_with_the_hint(job, tmp_path, compiled, declared, message):
    folder = compile_model(BERT, compiled, tmp_path / "objects")
    made = job({"library": "models", "backend": declared, "models": [BERT]}, {"objects:bert-f32": folder})
    with pytest.raises(StepError) as caught:
        archive.run(made)
    text = str(caught.value)
    assert f"backend {declared['name']}: bert_f32_devc.o of bert-f32 {message}" in text
    assert declared["triple"] in text.partition("hint:")[2]
    assert not list(made.out.iterdir())


def test_spellings_of_one_version_and_one_architecture_are_equal(job, tmp_path):
    folder = compile_model(BERT, IOS, tmp_path / "objects")
    same = {**IOS, "deployment_target": "14"}
    archive.run(job({"library": "models", "backend": same, "models": [BERT]}, {"objects:bert-f32": folder}))

    folder = compile_model(BERT, {**LINUX_ARM, "arch": "arm64"}, tmp_path / "elf")
    archive.run(job({"library": "models", "backend": LINUX_ARM, "models": [BERT]}, {"objects:bert-f32": folder}))


def test_an_object_that_names_no_platform_is_refused(job, tmp_path):
    folder = compile_model(BERT, IOS, tmp_path / "objects")
    source = tmp_path / "bare.s"
    source.write_text(".globl _nothing\n_nothing:\n  ret\n")
    triple = "arm64-apple-ios"  # what a triple without a version gives
    run_tool("llvm-mc", f"-triple={triple}", "-filetype=obj", source, "-o", folder / "bert_f32_more.o")
    with pytest.raises(
        StepError, match=r"bert_f32_more.o of bert-f32 names no platform \(it has no LC_BUILD_VERSION\)"
    ):
        archive.run(job({"library": "models", "backend": IOS, "models": [BERT]}, {"objects:bert-f32": folder}))


def test_a_model_without_its_blob_is_refused(job, tmp_path):
    folder = compile_model(BERT, IOS, tmp_path / "objects")
    renamed = model("bert", prefix="bert_f16_")
    with pytest.raises(StepError, match=r"bert_f16___tvm_ffi__library_bin.*prefixes found: 'bert_f32_'"):
        archive.run(job({"library": "models", "backend": IOS, "models": [renamed]}, {"objects:bert-f32": folder}))


def test_a_compile_that_left_nothing_is_refused(job, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StepError, match="the compile of bert-f32 left no object"):
        archive.run(
            job({"library": "models", "backend": IOS, "models": [BERT]}, {"objects:bert-f32": tmp_path / "empty"})
        )


def test_objects_may_be_symbolic_links(job, tmp_path):
    real = compile_model(BERT, IOS, tmp_path / "real")
    view = tmp_path / "view"
    view.mkdir()
    for path in real.iterdir():
        (view / path.name).symlink_to(path)
    made = job({"library": "models", "backend": IOS, "models": [BERT]}, {"objects:bert-f32": view})
    assert archive.run(made) == {"bytes": (made.out / "libmodels.a").stat().st_size, "members": 2, "models": 1}


def test_the_bytes_are_those_of_llvm_ar(build_archive, tmp_path):
    folder = build_archive(IOS, [BERT])
    members = tmp_path / "members"
    members.mkdir()
    for path in (tmp_path / "compile/ios-arm64/bert-f32").glob("*.o"):
        shutil.copy(path, members)
    ar = find_tool("llvm-ar")
    subprocess.run(
        [ar, "--format=darwin", "-rcsD", "../llvm.a", "bert_f32_devc.o", "bert_f32_lib0.o"], cwd=members, check=True
    )
    assert (tmp_path / "llvm.a").read_bytes() == (folder / "libmodels.a").read_bytes()
