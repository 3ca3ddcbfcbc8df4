"""The link kits: what is in them, and what does not go together in one."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from fake_kits import ANDROID, BINS, CATALYST_ARM, CATALYST_X86, HOST, IOS, LINUX_ARM, PREFIXES, SIMULATOR
from fake_models import FUNCTIONS, model, run_tool


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
    parts = {part["name"]: part for part in document["archives"]}
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


def test_a_native_kit_has_the_metadata_of_rust_projects(make_kit):
    parts = [model("encoder", "g2p_encoder_", "a"), model("decoder_step", "g2p_decoder_step_", "a")]
    shared = {"checkpoint": "charsiu/g2p", "batch_size": 1, "use_kv_cache": False}
    for one in parts:
        one["options"] = {**shared, "part": one["model"]}
    folder = make_kit("native", [HOST, LINUX_ARM], per_backend={"host": parts, "linux-arm64": parts})
    assert json.loads((folder / "system_lib_metadata.json").read_text()) == {
        "archive": "libmodels.a",
        "prefix_base": "g2p_",
        "prefixes": {"decoder_step": "g2p_decoder_step_", "encoder": "g2p_encoder_"},
        **shared,
        "target": "llvm",
        "output_ext": "so",
    }


def test_parts_of_several_variants_are_told_apart(make_kit):
    parts = [model("encoder", variant=variant) for variant in ("f16", "f32")]
    folder = make_kit("native", [HOST], per_backend={"host": parts})
    metadata = json.loads((folder / "system_lib_metadata.json").read_text())
    assert metadata["prefixes"] == {"encoder-f16": "encoder_f16_", "encoder-f32": "encoder_f32_"}
    assert metadata["prefix_base"] == "encoder_"


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
            assert "None" not in text or path.suffix == ".rs"  # a word of Rust's
            assert text.endswith("\n")
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path.name
