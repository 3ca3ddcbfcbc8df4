"""Objects of two generations of TVM, and of another than the runtime that is declared, are refused with both dates."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fake_models import backend, compile_model, find_tool, model

from pipeline.errors import StepError
from pipeline.steps import archive

LINUX = backend("linux", "linux", arch="x86_64")
OLD, NEW = model("old"), model("new")

OF_018 = """
int TVMBackendRegisterSystemLibSymbol(const char *, void *);
void TVMAPISetLastError(const char *);
extern const char {prefix}__tvm_dev_mblob[];
const char {prefix}__tvm_dev_mblob[8] = {{42}};
int {prefix}forward(void) {{ TVMAPISetLastError("no"); return 0; }}
__attribute__((constructor)) static void startup(void) {{
  TVMBackendRegisterSystemLibSymbol("{prefix}__tvm_dev_mblob", (void *){prefix}__tvm_dev_mblob);
}}
"""
"""A fake: the names that TVM 0.18 gave and asked for, compiled here."""


@pytest.fixture
def old(tmp_path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    source = tmp_path / "old.c"
    source.write_text(OF_018.format(prefix=OLD["prefix"]))
    subprocess.run([find_tool("cc"), "-c", source, "-o", folder / "old_f32_devc.o"], check=True)
    (folder / "functions.json").write_text(json.dumps({"prefix": OLD["prefix"], "functions": []}))
    return folder


@pytest.fixture
def new(tmp_path) -> Path:
    return compile_model(NEW, LINUX, tmp_path / "new")


def refusal(job, inputs, **more) -> StepError:
    models = [one for one in (OLD, NEW) if f"objects:{one['subject']}" in inputs]
    with pytest.raises(StepError) as caught:
        archive.run(job({"library": "models", "backend": LINUX, "models": models, **more}, inputs))
    return caught.value


def test_the_claim_that_objects_of_018_run_on_022(job, old):
    error = refusal(job, {"objects:old-f32": old}, runtime_version="0.22.0")
    assert error.what == (
        "old-f32 does not run on TVM 0.22.0 (2025-10-21), the `runtime_version` of targets.yaml: it is of TVM 0.20 or "
        "older (before 2025-05-06), recognised by TVMAPISetLastError, TVMBackendRegisterSystemLibSymbol, "
        "__tvm_dev_mblob; and that runtime has no TVMAPISetLastError (gone since 2025-05-24), no "
        "TVMBackendRegisterSystemLibSymbol (gone since 2025-08-17), no __tvm_dev_mblob (gone since 2025-06-05)"
    )
    assert error.hint == (
        "compile the model with the TVM of the runtime, or give the app a runtime of TVM 0.20 or older (before "
        "2025-05-24); or correct `runtime_version`"
    )


def test_two_generations_in_one_archive(job, old, new):
    error = refusal(job, {"objects:old-f32": old, "objects:new-f32": new})
    assert error.what.startswith("no runtime of TVM can serve both new-f32 and old-f32")
    assert "new-f32 is of TVM 0.22 or newer (since 2025-09-06), recognised by TVMFFIEnvModRegisterSys" in error.what
    assert "old-f32 is of TVM 0.20 or older (before 2025-05-06), recognised by TVMAPISetLastError" in error.what


def test_a_new_object_for_an_old_runtime(job, new):
    error = refusal(job, {"objects:new-f32": new}, runtime_version="0.20.0")
    assert "new-f32 does not run on TVM 0.20.0 (2025-04-12)" in error.what
    assert "no TVMFFIEnvModRegisterSystemLibSymbol (there since 2025-08-20)" in error.what


@pytest.mark.parametrize("version", ["0.22", "0.26.0", "0.99.1", None])
def test_what_the_declared_runtime_can_serve_is_taken(job, new, version):
    more = {} if version is None else {"runtime_version": version}
    made = job({"library": "models", "backend": LINUX, "models": [NEW], **more}, {"objects:new-f32": new})
    assert archive.run(made)["models"] == 1
