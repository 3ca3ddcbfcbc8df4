"""The steps `wasm_runtime` and `wasm`: a fake runtime and model, compiled and linked by emscripten, run in Node."""

from __future__ import annotations

import json
from pathlib import Path

import fake_checkout
import fake_wasm
import pytest
from fake_wasm import BACKEND, visit

from pipeline import roles
from pipeline.action import Job, Tool
from pipeline.binary.object_info import ObjectInfo, WasmImport
from pipeline.binary.objects import read_object
from pipeline.documents.codec import decode
from pipeline.errors import StepError, ToolMissing
from pipeline.native.source_tree import read_tree
from pipeline.native.wasm_imports import missing
from pipeline.steps import wasm, wasm_runtime

pytestmark = pytest.mark.slow

MODEL = {"subject": "tiny-f32", "prefix": "tiny_f32_", "file": "tiny-f32-webgpu.wasm"}


class Services:
    def progress(self, done, total, unit):
        assert 0 < done <= total, unit


class Bench:
    def __init__(self, root: Path) -> None:
        self.root, self.jobs = root, 0
        self.emcc = Tool("emcc", Path(fake_wasm.emcc()), "1")

    @property
    def log(self) -> str:
        return (self.root / "build/log" / f"{self.jobs}.log").read_text()

    def job(self, params, inputs=None, tools=None) -> Job:
        self.jobs += 1
        out = self.root / f"out{self.jobs}"
        out.mkdir(parents=True)
        log = self.root / "build/log" / f"{self.jobs}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        found = {"emcc": self.emcc, **(tools or {})}
        step = wasm if "models" in params else wasm_runtime
        asked = decode(step.Params, {"backend": BACKEND, **params} if step is wasm else params, "params")
        return Job(asked, inputs or {}, found, out, log, Services(), cache=self.root / "build/cache")

    def runtime(self, checkout: Path) -> Path:
        source = Tool(roles.CHECKOUT, checkout, read_tree(checkout).version)
        job = self.job({}, tools={roles.CHECKOUT: source})
        self.facts = wasm_runtime.run(job)
        return job.out

    def link(self, archive: Path, made: Path) -> Path:
        job = self.job({"models": {MODEL["subject"]: MODEL["file"]}}, {"archive": archive, "runtime": made})
        self.facts = wasm.run(job)
        return job.out / MODEL["file"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "project")


@pytest.fixture
def checkout(tmp_path):
    return fake_wasm.checkout(tmp_path / "tvm")


def test_a_model_becomes_a_module_that_a_page_can_load(bench, checkout, tmp_path):
    before = fake_checkout.checksum(checkout)
    made = bench.runtime(checkout)
    assert fake_checkout.checksum(checkout) == before
    assert bench.facts["objects"] == ["wasm_runtime", "tvmjs_support", "webgpu_runtime"]
    module = bench.link(fake_wasm.archive(tmp_path / "archive", "tiny_f32_"), made)
    seen = visit(module)
    # Once under its prefix, and once as the only model of the page.
    assert seen["found"] == {
        "__tvm_ffi_tiny_f32_forward": 42,
        "tiny_f32___tvm_ffi__library_bin": None,
        "__tvm_ffi_forward": 42,
        "__tvm_ffi__library_bin": None,
        "__tvm_ffi__library_ctx": None,
    }
    assert seen["page"] == 64
    assert seen["where"] == "web/emcc/wasm_runtime.cc"
    described = json.loads((module.parent / "wasm.json").read_text())
    assert described["modules"][0]["size"] == module.stat().st_size


def test_a_function_that_nobody_has_does_not_pass(bench, checkout, tmp_path):
    made = bench.runtime(checkout)
    broken = fake_wasm.archive(
        tmp_path / "archive", "tiny_f32_", call="TVMBackendAllocWorkspace(1)", more="int TVMBackendAllocWorkspace(int);"
    )
    with pytest.raises(StepError, match=r"TVMBackendAllocWorkspace \(asked for by tiny_f32_lib0\.o\)") as caught:
        bench.link(broken, made)
    assert "runtime.source" in caught.value.hint


def test_only_what_an_edit_touched_is_compiled_again(bench, checkout):
    first = bench.runtime(checkout)
    (checkout / "web/emcc/webgpu_runtime.cc").write_text("int webgpu_runtime = 1;\n")
    second = bench.runtime(checkout)
    assert "webgpu_runtime.cc" in bench.log
    assert "wasm_runtime.cc" not in bench.log
    assert (first / "wasm_runtime.o").read_bytes() == (second / "wasm_runtime.o").read_bytes()
    (checkout / "include/table.h").write_text("#pragma once\n#define TABLE 32\n")
    bench.runtime(checkout)
    assert "wasm_runtime.cc" in bench.log
    assert "tvmjs_support.cc" in bench.log
    assert "webgpu_runtime.cc" not in bench.log


def test_a_header_beside_the_checkout_is_known_too(bench, checkout, tmp_path):
    own = tmp_path / "own.h"
    own.write_text("#define TABLE 1\n")
    (checkout / "web/emcc/webgpu_runtime.cc").write_text(f'#include "{own}"\nint webgpu_runtime = TABLE;\n')
    first = bench.runtime(checkout)
    bench.runtime(checkout)
    assert "webgpu_runtime.cc" not in bench.log
    own.write_text("#define TABLE 2\n")
    assert (first / "webgpu_runtime.o").read_bytes() != (bench.runtime(checkout) / "webgpu_runtime.o").read_bytes()


def test_equal_sources_give_equal_objects_anywhere(bench, checkout, tmp_path):
    first = bench.runtime(checkout)
    second = Bench(tmp_path / "another place").runtime(fake_wasm.checkout(tmp_path / "another checkout"))
    assert (first / "wasm_runtime.o").read_bytes() == (second / "wasm_runtime.o").read_bytes()


def test_a_checkout_of_mlc_llm_has_its_own_part(bench, tmp_path):
    upstream = fake_wasm.checkout(tmp_path / "tvm")
    mlc = tmp_path / "mlc"
    fake_checkout.commit(
        fake_checkout.write(mlc, {"web/emcc/mlc_wasm_runtime.cc": "#include <part.h>\n", "cpp/part.h": "\n"})
    )
    fake_checkout.git(mlc, "submodule", "--quiet", "add", str(upstream), "3rdparty/tvm")
    bench.runtime(mlc)
    assert bench.facts["objects"] == ["wasm_runtime", "tvmjs_support", "webgpu_runtime", "mlc_wasm_runtime"]


def test_a_header_that_is_missing_is_named(bench, checkout):
    (checkout / "include/table.h").unlink()
    with pytest.raises(StepError, match=r"table\.h") as caught:
        bench.runtime(checkout)
    assert "apache-tvm" in caught.value.hint


def test_a_checkout_of_something_else(bench, tmp_path):
    other = fake_checkout.commit(fake_checkout.write(tmp_path / "other", {"readme": "\n"}))
    with pytest.raises(StepError, match=r"no web/emcc/wasm_runtime\.cc"):
        bench.runtime(other)


def test_without_emscripten(bench, checkout):
    bench.emcc = None
    with pytest.raises(ToolMissing, match="not installed") as caught:
        bench.runtime(checkout)
    assert "emsdk" in caught.value.hint


@pytest.mark.tvm
def test_an_object_of_tvm_links(bench, checkout, tvm_webgpu_archive):
    """TVM's objects are position-independent and of a newer LLVM; what they need of a runtime is named."""
    with pytest.raises(StepError, match="TVMFFI") as caught:
        bench.link(tvm_webgpu_archive, bench.runtime(checkout))
    assert "tiny_model_a_lib0.o" in caught.value.what


class TestImports:
    def check(self, module, name, kind="function"):
        info = ObjectInfo("m", "wasm", "wasm32", "executable", imports=(WasmImport(module, name, kind),))
        return [one.name for one in missing(info)]

    @pytest.mark.parametrize(
        "name",
        ["TVMFFIWasmSafeCall", "TVMFFIWasmFunctionDeleter", "TVMWasmPackedCFunc", "emscripten_notify_memory_growth"],
    )
    def test_what_a_page_has(self, name):
        assert self.check("env", name) == []

    @pytest.mark.parametrize(
        "name", ["TVMFFIFunctionCall", "TVMBackendAllocWorkspace", "_ZN3tvm7runtime3fooEv", "expf"]
    )
    def test_what_it_has_not(self, name):
        assert self.check("env", name) == [name]

    def test_wasi_is_a_page_too(self):
        assert self.check("wasi_snapshot_preview1", "fd_write") == []
        assert self.check("elsewhere", "fd_write") == ["fd_write"]

    def test_memory_may_come_from_anywhere(self):
        assert self.check("env", "memory", "memory") == []


def test_read_object_is_what_decides(bench, checkout, tmp_path):
    module = bench.link(fake_wasm.archive(tmp_path / "archive", "tiny_f32_"), bench.runtime(checkout))
    names = {one.name for one in read_object(module.read_bytes(), module.name).imports if one.module == "env"}
    assert "TVMFFIWasmSafeCall" in names
