"""mlc_llm's lowering shared by several hosts: objects are those of single compiles, or the model is compiled singly."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import fake_xcode
import pytest
from fake_package import fake_package

from pipeline.compilers import mlc
from pipeline.compilers.metallib import Shaders
from pipeline.compilers.mlc import Compile
from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.steps import compile_mlc
from pipeline.worker.usage import measure
from pipeline.worker.worker import ToolchainWorker

pytestmark = pytest.mark.tvm

IPHONE = Backend(
    name="ios", device={"kind": "metal"}, triple="arm64-apple-ios15.0", arch="arm64", platform="ios",
    deployment_target="15.0", format="macho", system_libraries=(), frameworks=(),
)  # fmt: skip
CATALYST = replace(
    IPHONE, name="catalyst-arm64", triple="arm64-apple-ios17.0-macabi", platform="maccatalyst", deployment_target="17.0"
)
INTEL = replace(CATALYST, name="catalyst-x86_64", triple="x86_64-apple-ios17.0-macabi", arch="x86_64")
ANDROID = replace(
    IPHONE, name="android", device={"kind": "opencl"}, triple="aarch64-linux-android24", arch="aarch64",
    platform="android", deployment_target=None, format="elf",
)  # fmt: skip


class Toolchain:
    """A worker that has the fake package, and a model."""

    def __init__(self, folder: Path, **env: str):
        self.folder = folder
        self.config = folder / "config" / "mlc-chat-config.json"
        self.config.parent.mkdir()
        self.config.write_text(json.dumps({"model_config": {"hidden_size": 64}}))
        self.worker = ToolchainWorker(preload=["tvm"], path=[fake_package(folder / "python")], env=env)
        self.cpu = 0.0

    def asked(self, backend: Backend, **options) -> Compile:
        model = ModelRef(model="m", variant="v", prefix="fake_model_", options=options)
        return Compile("package", self.config, model, backend, None, metal_simdgroup=False, named_for=None)

    def shared(self, backend: Backend, **options):
        """Compile as the step does; return the facts, and the objects by name."""
        asked, (out, log) = self.asked(backend, **options), self._places(f"shared-{backend.name}")
        with measure() as usage:
            facts = compile_mlc.compiled(self.worker, asked, out, log)
        self.cpu = usage.cpu
        return facts, objects(out)

    def single(self, backend: Backend, shaders: Shaders | None = None):
        asked, (out, log) = replace(self.asked(backend), shaders=shaders), self._places(f"one-{backend.name}")
        facts = self.worker.call(partial(mlc.compile_model, asked=asked, out=out, log=log), log=log)
        return facts, objects(out)

    def _places(self, name: str):
        (self.folder / name).mkdir()
        return self.folder / name, self.folder / f"{name}.log"


def objects(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.o")}


@pytest.fixture
def toolchain(tmp_path):
    """Makes one; it is closed in the end."""
    made = []

    def make(**env: str) -> Toolchain:
        made.append(Toolchain(tmp_path, **env))
        return made[-1]

    yield make
    for one in made:
        one.worker.close()


def test_objects_are_those_of_single_compiles(toolchain):
    tools = toolchain()
    for backend in (IPHONE, CATALYST, INTEL, ANDROID):
        facts, shared = tools.shared(backend)
        assert "singly" not in facts
        assert sorted(shared) == ["fake_model_devc.o", "fake_model_lib0.o"]
        expected, single = tools.single(backend)
        assert shared == single, backend.name
        assert expected.items() <= facts.items()
        assert expected["metadata"]["model_type"] == "llama"


def test_a_second_host_costs_its_code_generation_only(toolchain):
    tools = toolchain()
    first, _ = tools.shared(IPHONE)
    lowered = tools.cpu
    second, _ = tools.shared(INTEL)
    assert second["lower_cpu"] == first["lower_cpu"] > second["codegen_cpu"]
    assert tools.cpu < 0.6 * lowered
    assert "os.environ: {}" in (tools.folder / "shared-catalyst-x86_64.log").read_text(), "its log has the lowering's"


def test_another_config_at_the_same_place_is_lowered_anew(toolchain):
    tools = toolchain()
    _, before = tools.shared(IPHONE)
    tools.config.write_text(json.dumps({"model_config": {"hidden_size": 96}}))
    tools.folder.joinpath("shared-ios").rename(tools.folder / "before")
    _, others = tools.shared(IPHONE)
    assert before["fake_model_devc.o"] != others["fake_model_devc.o"]


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ("twice", "mlc_llm called tvm.relax.build 2 times"),
        ("stats", "mlc_llm asks for stats of what tvm.relax.build returns"),
        ("pipeline", "mlc_llm asks tvm.relax.build for something else than a system library"),
        ("presets", "mlc_llm's presets for macabi and another device of its kind differ"),
    ],
)
def test_an_mlc_that_is_not_as_known_compiles_singly_and_the_record_says_so(toolchain, own, why):
    tools = toolchain(OWN=own)
    facts, alone = tools.shared(CATALYST)
    assert facts["singly"] == why
    assert sorted(alone) == ["fake_model_devc.o", "fake_model_lib0.o"]


def test_metal_kernels_are_compiled_by_us_in_one_go_too(toolchain, tmp_path, monkeypatch):
    xcode = fake_xcode.install(tmp_path / "xcode")
    monkeypatch.setenv("PATH", f"{xcode.bin}{os.pathsep}{os.environ['PATH']}")
    wanted = Shaders("iphoneos", "air64-apple-ios15.0", "ios-metal2.4", "1", str(tmp_path / "kept"))
    facts, made = toolchain().single(IPHONE, wanted)
    assert facts["kernels"] == "metallib"
    assert facts["shaders"] == facts["shaders_compiled"] == len(xcode.compiles) > 0
    assert b"MTLB iphoneos" in made["fake_model_devc.o"]


def test_without_a_metal_compiler_the_error_says_so(toolchain, tmp_path):
    wanted = Shaders("iphoneos", "air64-apple-ios15.0", "ios-metal2.4", "1", str(tmp_path / "kept"))
    with pytest.raises(ToolMissing, match="there is no xcrun") as caught:
        toolchain().single(IPHONE, wanted)
    assert "MetalToolchain" in str(caught.value.hint)


def test_what_mlc_refuses_is_put_into_words(toolchain):
    with pytest.raises(StepError, match="does not know the architecture 'mamba9'; it knows llama"):
        toolchain().shared(IPHONE, model_type="mamba9")


def test_an_error_that_nobody_knows_is_its_reason(toolchain):
    with pytest.raises(StepError, match=r"^mlc_llm compile: ZeroDivisionError: of the fake") as caught:
        toolchain(OWN="error").shared(IPHONE)
    assert "Traceback" in Path(str(caught.value.log)).read_text()
