"""The step itself on a backend: real archives, real links, real numbers; what fails, and what cannot be asked here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from proof_subjects import BACKENDS, TVM_MODELS, backend_params, model_params

from pipeline.binary.ar import Member, write_archive
from pipeline.errors import VerifyError
from pipeline.steps import verify

pytestmark = pytest.mark.tvm

RECIPE = """
import numpy as np
from pipeline.compilers.recipe import Comparison

X = np.arange(8, dtype="float32").reshape(2, 4) / 8
W = np.arange(12, dtype="float32").reshape(4, 3) / 12

def check(session):
    y = X.astype("float64") @ W
    yield Comparison("forward", session.call("forward", X, W), y / (1 + np.exp(-y)), atol=1e-5)

def wrong(session):
    yield Comparison("forward", session.call("forward", X, W), X @ W, atol=1e-5)

def crash(session):
    import ctypes
    yield ctypes.string_at(0)
"""


@pytest.fixture
def params():
    def make(name: str, **changes) -> dict:
        common = {"kind": "backend", "library": "models", "host": name == "host", "checks": {}}
        models = [model_params(prefix) for prefix in TVM_MODELS]
        return {**common, "backend": backend_params(name), "models": models, **changes}

    return make


@pytest.fixture
def prove(job, tools):
    """Run the step; returns facts and report."""

    def run(params: dict, archive: Path, *, tools=tools, strict=False, **inputs: Path):
        given = {"archive": archive, **{name.replace("__", ":"): path for name, path in inputs.items()}}
        made = job(params, given, tools, strict=strict)
        facts = verify.run_backend(made)
        report = json.loads((made.out / "report.json").read_text())
        assert [path.name for path in made.out.iterdir()] == ["report.json"]
        return facts, {check["name"]: check for check in report["checks"]}

    return run


@pytest.fixture
def host_inputs(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE)
    return {f"source:{model_params(prefix)['subject']}".replace(":", "__"): recipe for prefix in TVM_MODELS}


def rebuilt(folder: Path, tmp_path: Path, members: list[Member], flavour: str) -> Path:
    """A copy of an archive's outputs with other members."""
    copy = tmp_path / "rebuilt"
    shutil.copytree(folder, copy)
    (copy / "libmodels.a").write_bytes(write_archive(members, flavour))
    return copy


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "host"])
def test_a_good_archive_is_proven(prove, params, tvm_archives, name):
    facts, checks = prove(params(name), tvm_archives[name], strict=True)
    where = " ".join([params(name)["backend"]["platform"], params(name)["backend"]["arch"]])
    assert facts["proven"] == f"linked, 4/4 constructors; negative control passed; not run (no {where} here)"
    assert set(facts["states"].values()) == {"proven"}
    extra = {"android-arm64": {"pages"}, "wasm": {"imports"}}.get(name, set())
    assert set(checks) == {"members", "symbols", "closure", "constructors"} | extra
    assert facts["checks"] == len(checks)


def test_a_missing_linker_is_said_aloud_and_strict_refuses(prove, params, tvm_archives, job):
    facts, checks = prove(params("ios-arm64"), tvm_archives["ios-arm64"], tools={"ld64.lld": None})
    assert facts["proven"] == "not proven: no ld64.lld found, install lld"
    assert facts["not_proven"] == 1
    assert checks["constructors"]["state"] == "not proven"
    assert "apt-get install lld" in checks["constructors"]["hint"]
    made = job(params("ios-arm64"), {"archive": tvm_archives["ios-arm64"]}, {"ld64.lld": None}, strict=True)
    with pytest.raises(VerifyError, match=r"no ld64\.lld found"):
        verify.run_backend(made)
    assert not list(made.out.iterdir())


def test_objects_without_a_version_fail(prove, params, tvm_archives):
    """A triple without a version leaves objects that no linker complains of and xcodebuild refuses."""
    with pytest.raises(VerifyError, match="names no platform") as caught:
        prove(params("ios-arm64"), tvm_archives["no-version"])
    assert "1 of 4 checks failed" in str(caught.value)


def test_a_simulator_object_among_device_objects_fails(prove, params, tvm_archives, tvm_objects, tmp_path):
    members = [*tvm_objects["ios-arm64"][:3], tvm_objects["ios-sim-arm64"][3]]
    folder = rebuilt(tvm_archives["ios-arm64"], tmp_path, members, "darwin")
    with pytest.raises(VerifyError, match="is for platform ios-simulator, and should be for ios"):
        prove(params("ios-arm64"), folder)


def test_half_a_model_fails_and_the_log_has_the_report(prove, params, tvm_archives, tvm_objects, tmp_path):
    folder = rebuilt(tvm_archives["linux-arm64"], tmp_path, tvm_objects["linux-arm64"][:3], "gnu")
    with pytest.raises(VerifyError) as caught:
        prove(params("linux-arm64"), folder)
    assert "symbols (failed)" in str(caught.value)
    assert '"subject": "linux-arm64"' in (tmp_path / "log.txt").read_text()


def test_the_host_runs_and_says_how_far_off_it_is(prove, params, tvm_archives, host_inputs):
    checks = {model_params(prefix)["subject"]: "check" for prefix in TVM_MODELS}
    facts, report = prove(params("host", checks=checks), tvm_archives["host"], strict=True, **host_inputs)
    assert facts["proven"].startswith("run: max error ")
    assert float(facts["proven"].split()[3].rstrip(";")) < 1e-5
    assert report["numbers of tiny-model-a"]["state"] == "proven"
    assert "tolerance 1.0e-05" in report["numbers of tiny-model-b"]["saw"]


def test_a_model_without_check_is_not_proven(prove, params, tvm_archives, host_inputs):
    facts, report = prove(params("host", checks={"tiny-model-a": "check"}), tvm_archives["host"], **host_inputs)
    assert report["numbers of tiny-model-a"]["state"] == "proven"
    assert report["numbers of tiny-model-b"]["saw"] == "recipe has no check"
    assert facts["not_proven"] == 1


@pytest.mark.parametrize(
    "wrong", [("wrong", "1 of 1 comparisons differ: forward: max abs error"), ("crash", "SIGSEGV")]
)
def test_wrong_numbers_and_crashes_fail(prove, params, tvm_archives, host_inputs, wrong):
    check, message = wrong
    with pytest.raises(VerifyError, match=message):
        prove(params("host", checks={"tiny-model-a": check}), tvm_archives["host"], **host_inputs)


def test_without_a_compiler_the_host_is_linked_and_not_run(prove, params, tvm_archives, host_inputs, tools):
    facts, report = prove(params("host"), tvm_archives["host"], tools={**tools, "cc": None}, **host_inputs)
    assert report["constructors"]["state"] == "proven"
    assert report["numbers"]["saw"] == "no C compiler found to link with"
    assert facts["proven"].endswith("; not run")
