"""The step itself on a backend: real archives, real links, real numbers; what fails, and what cannot be asked here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from proof_subjects import BACKENDS, TVM_MODELS, backend_params, model_params

from pipeline.binary.ar import Member, write_archive
from pipeline.documents.codec import dumps
from pipeline.documents.run import Measured, Run, Verdict
from pipeline.errors import VerifyError
from pipeline.steps import verify

pytestmark = pytest.mark.tvm


@pytest.fixture
def params():
    def make(name: str, **changes) -> dict:
        common = {"kind": "backend", "library": "models", "host": name == "host"}
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
def runs(tmp_path):
    """Write what runners say of the two models; inputs of the step."""

    def write(**said) -> dict[str, Path]:
        inputs = {}
        for prefix in TVM_MODELS:
            subject = model_params(prefix)["subject"]
            folder = tmp_path / subject
            folder.mkdir(exist_ok=True)
            (folder / "run.json").write_text(dumps(Run(subject, "host", **{"runner": "host", **said})))
            inputs[f"check__{subject}"] = folder
        return inputs

    return write


RIGHT = {
    "compared": (Verdict("forward", 6, 1e-5, 2e-7, 1.0, passed=True),),
    "control": "weights",
    "measured": Measured(0.5, 1 << 20, {"forward": (0.5, 0.003, 0.003)}),
}


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


def test_what_a_run_has_shown_is_in_the_report_and_in_the_table(prove, params, tvm_archives, runs):
    facts, report = prove(params("host"), tvm_archives["host"], strict=True, **runs(**RIGHT))
    linked = "linked, 4/4 constructors; negative control passed"
    assert facts["proven"] == f"run: max error 2.0e-07 (tolerance 1.0e-05), 3 ms/call; {linked}"
    saw = report["numbers of tiny-model-b"]["saw"]
    assert saw == (
        "host: 1 comparison of 6 elements, worst forward: max abs error 2.0e-07, tolerance 1.0e-05; "
        "with changed weights, or other outputs, it fails"
    )


def test_times_are_not_in_the_report_which_ships(prove, params, tvm_archives, runs, tmp_path):
    prove(params("host"), tvm_archives["host"], **runs(**RIGHT))
    reports = {path.read_text() for path in tmp_path.glob("out-*/report.json")}
    slow = {**RIGHT, "measured": Measured(5.0, 1 << 30, {"forward": (9.0, 9.0)})}
    prove(params("host"), tvm_archives["host"], **runs(**slow))
    assert {path.read_text() for path in tmp_path.glob("out-*/report.json")} == reports


def test_an_emulated_run_says_so(prove, params, tvm_archives, runs):
    said = runs(**RIGHT, runner="qemu", emulated="qemu-user")
    facts, _ = prove(params("linux-arm64"), tvm_archives["linux-arm64"], **said)
    assert facts["proven"].startswith(
        "run: qemu, max error 2.0e-07 (tolerance 1.0e-05), 3 ms/call (emulated); linked, "
    )


def test_a_model_without_check_is_not_proven(prove, params, tvm_archives, runs):
    some = runs(**RIGHT)
    some.pop("check__tiny-model-b")
    facts, report = prove(params("host"), tvm_archives["host"], **some)
    assert report["numbers of tiny-model-a"]["state"] == "proven"
    assert report["numbers of tiny-model-b"]["saw"] == "recipe has no check"
    assert facts["not_proven"] == 1


def test_what_could_not_be_run_is_said_and_strict_refuses(prove, params, tvm_archives, runs):
    lacking = runs(runner="qemu", lacks="there is no qemu-aarch64", hint="install qemu-user (apt-get …)")
    facts, report = prove(params("linux-arm64"), tvm_archives["linux-arm64"], **lacking)
    assert facts["proven"] == "linked, 4/4 constructors; negative control passed; not run: install qemu-user"
    assert report["numbers of tiny-model-a"]["saw"] == "not run by qemu: there is no qemu-aarch64"
    assert facts["not_proven"] == 2
    with pytest.raises(VerifyError, match="there is no qemu-aarch64"):
        prove(params("linux-arm64"), tvm_archives["linux-arm64"], strict=True, **lacking)
