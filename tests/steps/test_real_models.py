"""Archive, xcframework and kit of models that TVM really compiled."""

from __future__ import annotations

import json

import pytest
from fake_models import backend, model, run_tool

from pipeline.binary.ar import read_archive
from pipeline.binary.objects import read_object
from pipeline.steps import archive, linkkit, xcframework

MODELS = [model("tiny_model_a", prefix="tiny_model_a_"), model("tiny_model_b", prefix="tiny_model_b_")]
APPLE = [
    backend("ios-arm64", "ios"),
    backend("ios-sim-arm64", "ios-simulator"),
    backend("catalyst-arm64", "maccatalyst", version="18.0"),
    backend("catalyst-x86_64", "maccatalyst", arch="x86_64", version="18.0"),
]
WASM = {
    **backend("webgpu", "linux"),
    "triple": "wasm32-unknown-unknown-wasm",
    "arch": "wasm32",
    "platform": "wasm",
    "format": "wasm",
    "device": {"kind": "webgpu"},
    "system_libraries": [],
}

pytestmark = pytest.mark.tvm


@pytest.fixture
def archives(job, tvm_compiled):
    """Archives of the real models for some backends: `{"archive:NAME": directory}`."""

    def run(backends):
        compiled = tvm_compiled([one["triple"] for one in backends])
        made = {}
        for one in backends:
            inputs = {f"objects:{m['subject']}": compiled[one["triple"]][m["prefix"]] for m in MODELS}
            work = job({"library": "models", "backend": one, "models": MODELS}, inputs)
            archive.run(work)
            made[f"archive:{one['name']}"] = work.out
        return made

    return run


def test_an_xcframework_and_its_kit(job, archives):
    inputs = archives(APPLE)
    packed = job({"product": "models", "library": "models", "backends": APPLE}, inputs)
    facts = xcframework.run(packed)
    assert facts["slices"] == ["ios-arm64", "ios-arm64-simulator", "ios-arm64_x86_64-maccatalyst"]

    kit = job(
        {"product": "models", "library": "models", "kind": "xcframework", "backends": APPLE},
        {**inputs, "xcframework": packed.out},
    )
    linkkit.run(kit)
    document = json.loads((kit.out / "link.json").read_text())
    for part in document["archives"]:
        shipped = packed.out / part["archive"]
        assert run_tool("sha256sum", shipped).split()[0] == part["sha256"]
    listed = run_tool("llvm-nm", "--defined-only", packed.out / document["archives"][0]["archive"])
    pattern, *symbols = (kit.out / "models.exported_symbols.txt").read_text().split()
    assert pattern == "___debug_main_executable_dylib_entry_poin*"
    assert symbols
    for symbol in symbols:
        assert f" {symbol}\n" in listed
    for entry in document["models"].values():
        for symbol in entry["keep_symbols"]:
            assert f" _{symbol}\n" in listed


def test_the_web_kit_is_an_archive_wasm_ld_takes_whole(job, archives, tmp_path):
    inputs = archives([WASM])
    work = job({"product": "web", "library": "models", "kind": "web", "backends": [WASM]}, inputs)
    linkkit.run(work)
    part = json.loads((work.out / "link.json").read_text())["archives"][0]
    assert part["archive"] == "webgpu/libmodels.a"
    members = read_archive((work.out / part["archive"]).read_bytes())
    assert sum(read_object(member.data, member.name).constructors for member in members) == 4
    out = tmp_path / "models.wasm"
    frame = ["--no-entry", "--allow-undefined", "--export=__wasm_call_ctors", "--gc-sections"]
    run_tool("wasm-ld", *frame, *part["linker_flags"], "-o", out, cwd=work.out)
    assert b"tiny_model_a_" in out.read_bytes()
    run_tool("wasm-ld", *frame, part["archive"], "-o", out, cwd=work.out)
    assert b"tiny_model_a_" not in out.read_bytes()  # the control: a plain link has no model in it
