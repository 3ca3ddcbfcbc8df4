"""Metal kernels compiled here: once each, side by side, for the right system; and said well where it cannot be."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import fake_xcode
import pytest
from compiled_models import TINY, Compiled, model
from fake_worker import PROBE, make_job, run_forked

from pipeline import platforms as apple
from pipeline.action import Tool
from pipeline.compilers.metallib import Compiler, Shaders
from pipeline.errors import StepError, ToolMissing
from pipeline.steps import compile_relax as compile_step

SOURCES = [f"kernel void k{n}() {{}}" for n in range(4)]


@pytest.fixture
def xcode(tmp_path, monkeypatch):
    made = fake_xcode.install(tmp_path / "fake xcode")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def shaders(tmp_path):
    def make(platform="ios", version="14.0", compiler="1"):
        triple, language = apple.metal_target(platform, version)
        return Shaders(apple.SDKS[platform], triple, language, compiler, str(tmp_path / "memo"))

    return make


def test_each_kernel_is_compiled_once(xcode, shaders):
    compiler = Compiler(shaders(), 2)
    first = compiler.compile_all([*SOURCES, *SOURCES])
    assert sorted(first) == SOURCES
    assert len(set(first.values())) == 4
    assert all(data.startswith(b"MTLB iphoneos -std=ios-metal2.3 air64-apple-ios14.0 ") for data in first.values())
    assert len(xcode.compiles) == 4
    assert Compiler(shaders(), 2).compile_all(SOURCES[1:3]) == {source: first[source] for source in SOURCES[1:3]}
    assert len(xcode.compiles) == 4
    assert (compiler.count.kernels, compiler.count.compiled) == (4, 4)


@pytest.mark.parametrize(
    "other", [{"platform": "ios-simulator"}, {"platform": "maccatalyst"}, {"version": "15.0"}, {"compiler": "2"}]
)
def test_another_system_version_or_compiler_is_another_kernel(xcode, shaders, other):
    before = Compiler(shaders(), 1).compile_all(SOURCES[:1])
    after = Compiler(shaders(**other), 1).compile_all(SOURCES[:1])
    assert len(xcode.compiles) == 2
    assert before != after or "compiler" in other


def test_kernels_compile_side_by_side(xcode, shaders):
    xcode.set("seconds", 0.4)
    Compiler(shaders(), 4).compile_all(SOURCES)
    assert xcode.most_at_once > 1
    assert len(xcode.compiles) == 4


def test_two_that_want_one_kernel_compile_it_once(xcode, shaders):
    from concurrent.futures import ThreadPoolExecutor

    xcode.set("seconds", 0.2)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: Compiler(shaders(), 1).compile_all(SOURCES[:1]), range(3)))
    assert made[0] == made[1] == made[2]
    assert len(xcode.compiles) == 1


@pytest.mark.parametrize("damage", [b"", b"MTLB", b"\0" * 200])
def test_a_damaged_memo_is_not_believed(xcode, shaders, damage, tmp_path):
    good = Compiler(shaders(), 1).compile_all(SOURCES[:1])
    (kept,) = (path for path in (tmp_path / "memo").rglob("*") if path.is_file() and path.suffix != ".lock")
    kept.write_bytes(damage)
    assert Compiler(shaders(), 1).compile_all(SOURCES[:1]) == good
    assert len(xcode.compiles) == 2


def test_a_kernel_that_does_not_compile_says_why(xcode, shaders, capfd):
    with pytest.raises(StepError, match=r"a Metal kernel does not compile: .*\n.*unknown type name 'mistake'"):
        Compiler(shaders(), 1).compile_all(["mistake"])
    assert "xcrun -sdk iphoneos metal" in capfd.readouterr().out


def test_xcode_without_its_metal_toolchain_is_told_apart(xcode, shaders):
    xcode.set("no-metal", "yes")
    with pytest.raises(ToolMissing, match=r"no Metal compiler for iphoneos: .*missing Metal Toolchain"):
        Compiler(shaders(), 1).compile_all(SOURCES)


def test_no_xcode_at_all(shaders, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="no xcrun"):
        Compiler(shaders(), 1).compile_all(SOURCES)


@pytest.mark.parametrize(
    ("platform", "version", "target"),
    [
        ("ios", "14.0", ("air64-apple-ios14.0", "ios-metal2.3")),
        ("ios", "13.0", ("air64-apple-ios13.0", "ios-metal2.2")),
        ("ios-simulator", "17.2", ("air64-apple-ios17.2-simulator", "ios-metal2.3")),
        ("maccatalyst", "18.0", ("air64-apple-macos15.0", "macos-metal2.3")),
        ("maccatalyst", "26.0", ("air64-apple-macos26.0", "macos-metal2.3")),
        ("maccatalyst", "13.1", ("air64-apple-macos10.15", "macos-metal2.2")),
        ("macos", "11.0", ("air64-apple-macos11.0", "macos-metal2.3")),
    ],
)
def test_metal_is_told_the_declared_system(platform, version, target):
    assert apple.metal_target(platform, version) == target


def metallib_job(tmp_path, worker, tools, *, name="job", platform="ios", version="14.0"):
    (tmp_path / "probe.json").write_text(json.dumps(PROBE))
    triples = {"ios": "arm64-apple-ios{}", "ios-simulator": "arm64-apple-ios{}-simulator"}
    backend = {
        "name": name,
        "device": {"kind": "metal"},
        "triple": triples[platform].format(version),
        "platform": platform,
        "deployment_target": version,
        "kernels": "metallib",
    }
    parameters = {
        "model": model("tiny", "f32"),
        "source": {"kind": "factory", "function": "build"},
        "toolchain": "current",
        "backend": backend,
    }
    job = make_job(tmp_path, parameters, {"source": TINY, "toolchain": tmp_path}, worker, name)
    log = tmp_path / "build" / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return replace(job, tools=tools, log=log)


def test_without_a_metal_compiler_nothing_is_started(tmp_path):
    class Unused:
        def call(self, *_args, **_kwargs):
            raise AssertionError("it must not come so far")

    with pytest.raises(ToolMissing, match="no Metal compiler for iphoneos") as caught:
        compile_step.run(metallib_job(tmp_path, Unused(), {"metal:iphoneos": None}))
    assert "kernels: source" in caught.value.hint
    assert "xcodebuild -downloadComponent MetalToolchain" in caught.value.hint


@pytest.mark.tvm
@pytest.mark.usefixtures("warm")
class TestWithTvm:
    @pytest.fixture
    def compiled(self, tmp_path):
        return Compiled(tmp_path, TINY, model("tiny", "f32"))

    def run(self, compiled, tmp_path, name, **changes):
        platform = changes.get("platform", "ios")
        tool = Tool(apple.metal_tool(platform), Path("xcrun"), "fake 1")
        job = metallib_job(tmp_path, compiled.worker, {tool.name: tool}, name=name, **changes)
        facts = compile_step.run(job)
        return facts, job.out

    def test_the_library_holds_what_was_compiled(self, xcode, compiled, tmp_path):
        facts, out = self.run(compiled, tmp_path, "device")
        assert facts["kernels"] == "metallib"
        assert facts["shaders"] == facts["shaders_compiled"] == len(xcode.compiles) > 0
        blob = (out / "tiny_f32_devc.o").read_bytes()
        assert blob.count(b"MTLB iphoneos -std=ios-metal2.3 air64-apple-ios14.0 ") == facts["shaders"]
        assert b"kernel void" not in blob
        again, second = self.run(compiled, tmp_path, "again")
        assert again["shaders_compiled"] == 0
        assert (second / "tiny_f32_devc.o").read_bytes() == blob

    @pytest.mark.usefixtures("xcode")
    def test_the_simulator_gets_its_own_from_the_same_lowering(self, compiled, tmp_path):
        self.run(compiled, tmp_path, "device")
        facts, out = self.run(compiled, tmp_path, "sim", platform="ios-simulator")
        assert facts["shaders_compiled"] == facts["shaders"]
        blob = (out / "tiny_f32_devc.o").read_bytes()
        assert b"MTLB iphonesimulator" in blob
        assert b"MTLB iphoneos" not in blob
        assert len(compiled.worker.stages) == 1

    def test_source_is_left_to_the_device(self, compiled):
        out = compiled.compile("arm64-apple-ios14.0", kind="metal")
        assert compiled.facts["kernels"] == "source"
        blob = (out / "tiny_f32_devc.o").read_bytes()
        assert b"kernel void" in blob
        assert b"MTLB" not in blob

    def test_a_missing_toolchain_found_late_is_said_as_such(self, xcode, compiled, tmp_path):
        xcode.set("no-metal", "yes")
        with pytest.raises(ToolMissing, match="missing Metal Toolchain"):
            self.run(compiled, tmp_path, "device")

    def test_tvm_is_as_before_when_it_is_over(self, tmp_path):
        arguments = {"memo": str(tmp_path / "memo"), "recipe": str(TINY)}
        run_forked([(f"{__name__}:compile_after_compiling", arguments)], tmp_path / "log")


def compile_after_compiling(*, memo, recipe):
    """In a child: source after metallib, in one process."""
    import tvm  # noqa: F401 - it brings the generators
    import tvm_ffi

    from pipeline.compilers import metallib

    generate = tvm_ffi.get_global_func(metallib.GENERATOR)
    assert tvm_ffi.get_global_func(metallib.CALLBACK, allow_missing=True) is None
    with metallib.compiling(Shaders("iphoneos", "air64-apple-ios14.0", "ios-metal2.3", "1", memo)):
        assert not tvm_ffi.get_global_func(metallib.GENERATOR).same_as(generate)
    answer = tvm_ffi.get_global_func(metallib.CALLBACK)("text", None)
    assert [str(part) for part in answer] == ["text", "metal"]
