"""Jobs for the steps, and archives made by the archive step of fake models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from fake_kits import HOST, MODELS
from fake_models import FUNCTIONS, compile_model
from placed_job import PlacedJob

from pipeline.binary.tar_members import read_tar
from pipeline.documents.codec import decode
from pipeline.steps import app_config, archive, bundle, linkkit, manifest, product, xcframework


class FakeServices:
    """Services of a run that nobody watches."""

    def worker(self, toolchain, **_fresh):
        raise AssertionError(f"no step here asks for a worker ({toolchain})")

    def progress(self, done, total, unit):  # noqa: ARG002 - the protocol's name
        assert 0 <= done <= total


def typed(params: Mapping, inputs: Mapping[str, Path]):
    """The parameters of the one step that has all of these."""
    steps = (app_config, archive, bundle, manifest, linkkit, product, xcframework)
    (fits,) = [step for step in steps if {one.name for one in fields(step.Params)} >= params.keys() >= required(step)]
    return decode(fits.Params, dict(params), "params")


def required(step) -> set[str]:
    return {one.name for one in fields(step.Params) if one.default is MISSING}


@pytest.fixture
def job(tmp_path):
    """Make a job: `job(params, {role: path})`. Each has a scratch directory of its own."""
    made = []

    def make(params: Mapping, inputs: Mapping[str, Path]) -> PlacedJob:
        out = tmp_path / f"out{len(made)}"
        out.mkdir()
        made.append(out)
        return PlacedJob(typed(params, inputs), inputs, {}, out, tmp_path / "log.txt", FakeServices())

    return make


@pytest.fixture
def build_archive(job, tmp_path):
    """Compile fake models for a backend and run the archive step on them; return its directory."""

    def build(target: dict, models: list[dict], library: str = "models") -> Path:
        inputs = {
            f"objects:{one['subject']}": compile_model(
                one, target, tmp_path / "compile" / target["name"] / one["subject"]
            )
            for one in models
        }
        made = job({"library": library, "backend": target, "models": models}, inputs)
        archive.run(made)
        return made.out

    return build


@pytest.fixture(scope="session")
def tvm_compiled(tmp_path_factory):
    """What the compile of two models leaves, made by TVM: `tvm_compiled(triples) -> {triple: {prefix: directory}}`."""
    pytest.importorskip("tvm_ffi")
    script = Path(__file__).parent.parent / "binary" / "compile_tiny_models.py"

    def run(triples):
        out = tmp_path_factory.mktemp("tvm")
        subprocess.run([sys.executable, script, out, *triples], check=True, capture_output=True, timeout=600)
        found = {}
        for packed in sorted(out.glob("*/*.tar")):
            prefix = packed.stem
            folder = packed.with_suffix("")
            folder.mkdir()
            for member in read_tar(packed.read_bytes(), packed.name):
                (folder / member.name).write_bytes(member.data)
            (folder / "functions.json").write_text(json.dumps({"prefix": prefix, "functions": FUNCTIONS}))
            found.setdefault(packed.parent.name, {})[prefix] = folder
        return found

    return run


@pytest.fixture
def make_kit(job, build_archive, tmp_path):
    """Build archives and the kit of a product; return its directory, whose name has a space."""

    def run(kind, backends, *, product="models", templates=None, per_backend=None):
        per_backend = per_backend or {}
        inputs = {f"archive:{b['name']}": build_archive(b, per_backend.get(b["name"], MODELS)) for b in backends}
        params = {"product": product, "library": "models", "kind": kind, "backends": backends, "overrides": False}
        more = {"templates": templates} if templates else {}
        folder = tmp_path / "my kits" / product
        if kind == "xcframework":
            packed = job({"product": product, "library": "models", "backends": backends}, inputs)
            xcframework.run(packed)
            shutil.copytree(packed.out, folder, dirs_exist_ok=True)
            more["xcframework"] = packed.out
        made = job(params, {**inputs, **more})
        linkkit.run(made)
        shutil.copytree(made.out, folder, dirs_exist_ok=True)
        return folder

    return run


@pytest.fixture
def kit(job, build_archive, runtime, tmp_path):
    """A native kit with a runtime, in a folder where a user may have put it; the test module says which `runtime`."""
    params = {"product": "models", "library": "models", "kind": "native", "backends": [HOST], "overrides": False}
    made = job(params, {"archive:host": build_archive(HOST, MODELS), "runtime:host": runtime})
    linkkit.run(made)
    folder = tmp_path / "my kits" / "models"
    shutil.copytree(made.out, folder)
    return folder
