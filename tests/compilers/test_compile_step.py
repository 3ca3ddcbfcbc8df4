"""The steps toolchain, params and compile: what they ask of a worker. TVM is not needed."""

from __future__ import annotations

import json
import os
from typing import get_type_hints

import pytest
from fake_worker import PROBE, make_job

from pipeline.documents.codec import decode, encode
from pipeline.errors import CompilerCrash, StepError
from pipeline.steps import compile_relax as compile_step
from pipeline.steps import params, toolchain

MODEL = {"model": "tiny", "variant": "f32", "subject": "tiny-f32", "prefix": "tiny_f32_", "options": {}}
APPLE = {
    "ios-arm64": ("arm64-apple-ios14.0", "14.0"),
    "ios-sim-arm64": ("arm64-apple-ios15.0-simulator", "15.0"),
    "catalyst-arm64": ("arm64-apple-ios18.0-macabi", "18.0"),
    "catalyst-x86_64": ("x86_64-apple-ios18.0-macabi", "18.0"),
}


class RecordingWorker:
    """A fake that answers from a table and remembers what it was asked."""

    def __init__(self, answers):
        self.answers, self.calls = answers, []

    def call(self, work, *, log, after=None, cpu_limit=None):
        assert log.suffix == ".log"
        asked, stage = (None if one is None else (one.func, encode(one.keywords)) for one in (work, after))
        self.calls.append((*asked, stage, cpu_limit))
        answer = self.answers[work.func.__name__]
        if isinstance(answer, Exception):
            raise answer
        return decode(get_type_hints(work.func)["return"], answer, work.func.__name__)


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "recipe.py").write_text("import beside\ndef build(spec): ...\n")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    (tmp_path / "toolchain").mkdir()
    (tmp_path / "toolchain" / "probe.json").write_text(json.dumps(PROBE))
    return {"source": tmp_path / "recipe.py", "toolchain": tmp_path / "toolchain"}


def compile_job(tmp_path, inputs, worker, name, triple, *, deployment_target=None, device=None):
    # As the engine does it: each job is shown a view of its own, made of symbolic links.
    view = tmp_path / f"view-{name}"
    view.mkdir()
    (view / "config.json").symlink_to(tmp_path / "weights" / "config.json")
    device = device or {"kind": "metal"}
    backend = {"name": name, "device": device, "triple": triple, "deployment_target": deployment_target}
    parameters = {"model": MODEL, "source": {"kind": "factory", "function": "build"}, "toolchain": "current"}
    return make_job(tmp_path, {**parameters, "backend": backend}, {**inputs, "config": view}, worker, name)


def stages(worker):
    return [after for _, _, after, _ in worker.calls]


def test_four_apple_slices_share_their_lowering(tmp_path, inputs):
    worker = RecordingWorker({"codegen": {"bytes": 1}})
    for name, (triple, target) in APPLE.items():
        job = compile_job(tmp_path, inputs, worker, name, triple, deployment_target=target)
        assert compile_step.run(job) == {"bytes": 1}
        assert worker.calls[-1][1] == {"triple": triple, "out": str(job.out), "shaders": None}
    first, *others = stages(worker)
    assert others == [first] * 3
    assert first[1]["asked"]["triple"] is None


@pytest.mark.parametrize("kind", ["opencl", "webgpu", "llvm"])
def test_where_the_host_matters_it_is_part_of_the_lowering(tmp_path, inputs, kind):
    worker = RecordingWorker({"codegen": {}})
    for name, triple in (("a", "aarch64-linux-android"), ("b", "x86_64-linux-gnu")):
        compile_step.run(compile_job(tmp_path, inputs, worker, name, triple, device={"kind": kind}))
    first, second = stages(worker)
    assert first[1]["asked"]["triple"] == "aarch64-linux-android"
    assert first != second


@pytest.mark.parametrize("edited", ["recipe.py", "beside.py", "weights/config.json"])
def test_a_file_that_changed_is_lowered_again(tmp_path, inputs, edited):
    (tmp_path / "beside.py").write_text("SIZE = 1\n")
    worker = RecordingWorker({"codegen": {}})
    for name in ("before", "again", "after"):
        if name == "after":
            file = tmp_path / edited
            stat = file.stat()
            file.write_text("{}  ")
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        compile_step.run(compile_job(tmp_path, inputs, worker, name, "arm64-apple-ios14.0"))
    before, again, after = stages(worker)
    assert before == again
    assert before != after


@pytest.mark.parametrize("device", [{"kind": "metal", "max_num_threads": 512}, {"kind": "opencl"}])
def test_another_device_is_another_lowering(tmp_path, inputs, device):
    worker = RecordingWorker({"codegen": {}})
    compile_step.run(compile_job(tmp_path, inputs, worker, "a", "arm64-apple-ios14.0"))
    compile_step.run(compile_job(tmp_path, inputs, worker, "b", "arm64-apple-ios14.0", device=device))
    first, second = stages(worker)
    assert first != second


@pytest.mark.parametrize(
    ("probed", "kind", "told"), [(True, "metal", True), (False, "metal", False), (True, "llvm", False)]
)
def test_the_probe_decides_on_the_simdgroup_rule(tmp_path, inputs, probed, kind, told):
    (inputs["toolchain"] / "probe.json").write_text(json.dumps({**PROBE, "metal_simdgroup": probed}))
    worker = RecordingWorker({"codegen": {}})
    compile_step.run(compile_job(tmp_path, inputs, worker, "a", "arm64-apple-ios14.0", device={"kind": kind}))
    assert stages(worker)[0][1]["asked"]["metal_simdgroup"] is told


def test_a_model_without_weights_has_no_config(tmp_path, inputs):
    worker = RecordingWorker({"codegen": {}})
    job = compile_job(tmp_path, inputs, worker, "a", "arm64-apple-ios14.0")
    compile_step.run(make_job(tmp_path, job.params, inputs, worker, "b"))
    assert stages(worker)[0][1]["asked"]["config"] is None


def test_params_passes_on_the_weights(tmp_path, inputs):
    worker = RecordingWorker({"write": {"tensors": 3, "bytes": 12, "digests": {}}})
    parameters = {"model": MODEL, "source": {"kind": "onnx"}, "toolchain": "current"}
    job = make_job(tmp_path, parameters, {**inputs, "weights": tmp_path / "weights"}, worker)
    assert params.run(job)["tensors"] == 3
    function, arguments, after, _ = worker.calls[0]
    assert (function, after) == (params.write, None)
    assert arguments["weights"] == str(tmp_path / "weights")
    assert arguments["out"] == str(job.out)


FOUND = {
    "python": "3.11.7",
    "tvm": "0.27.0",
    "tvm_library": "0.27.0",
    "tvm_ffi": "0.1",
    "mlc_llm": None,
    "codegens": ["llvm", "metal"],
}


@pytest.mark.parametrize(
    ("simdgroup", "expected"), [(True, True), (False, False), (CompilerCrash("died of SIGSEGV"), False)]
)
def test_the_probe_survives_a_crash(tmp_path, simdgroup, expected):
    answers = {"versions": dict(FOUND), "compiles": True, "metal_simdgroup": simdgroup, "mlc_llm": None}
    worker = RecordingWorker(answers)
    job = make_job(tmp_path, {"toolchain": "current"}, {}, worker)
    facts = toolchain.run(job)
    assert facts == {**FOUND, "fork": True, "metal_simdgroup": expected}
    assert json.loads((job.out / "probe.json").read_text()) == facts
    limits = {function.__name__: limit for function, _, _, limit in worker.calls}
    assert limits["metal_simdgroup"] == toolchain.SIMDGROUP_CPU


def test_a_tvm_without_metal_is_not_asked_about_it(tmp_path):
    worker = RecordingWorker({"versions": {**FOUND, "codegens": ["llvm"]}, "compiles": True, "mlc_llm": None})
    assert toolchain.run(make_job(tmp_path, {"toolchain": "current"}, {}, worker))["metal_simdgroup"] is False


@pytest.mark.parametrize("crashes", ["versions", "compiles"])
def test_where_a_fork_crashes_and_an_interpreter_of_its_own_does_not_that_is_what_it_gets(tmp_path, crashes):
    answers = {"versions": FOUND, "compiles": True, "metal_simdgroup": True, "mlc_llm": None}
    forks = RecordingWorker({**answers, "versions": dict(FOUND), crashes: CompilerCrash("died of SIGABRT")})
    fresh = RecordingWorker({**answers, "versions": dict(FOUND)})
    facts = toolchain.run(make_job(tmp_path, {"toolchain": "current"}, {}, forks, fresh=fresh))
    assert facts == {**FOUND, "fork": False, "metal_simdgroup": True}
    assert toolchain.metal_simdgroup in [function for function, *_ in fresh.calls]


def test_a_toolchain_that_cannot_compile_is_refused(tmp_path):
    worker = RecordingWorker({"versions": dict(FOUND), "compiles": CompilerCrash("died of SIGSEGV")})
    job = make_job(tmp_path, {"toolchain": "current"}, {}, worker)
    with pytest.raises(StepError, match="cannot compile one matrix product") as caught:
        toolchain.run(job)
    assert "pip install" in caught.value.hint
    assert not list(job.out.iterdir())
