"""Archives of fake models, archives that TVM compiled, the linkers of this machine, and jobs for the step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from fakes import Fake, program
from placed_job import PlacedJob
from proof_subjects import BACKENDS, TRIPLES, TVM_MODELS, backend_params, described_model, models

import pipeline
from pipeline.action import Job, Tool
from pipeline.binary.ar import Member, write_archive
from pipeline.binary.merge import ModelObjects, merge_objects
from pipeline.binary.tar_members import read_tar
from pipeline.documents.codec import decode
from pipeline.proofs.subject import Backend, Library, read_library
from pipeline.steps import linkkit, verify, xcframework
from pipeline.worker.worker import ToolchainWorker


@pytest.fixture(scope="session")
def tools() -> dict[str, Tool | None]:
    """The linkers; a test that needs one that is missing is skipped."""
    names = {"ld64.lld": "LLD", "ld.lld": "LLD", "wasm-ld": "LLD", "lld-link": "LLD", "cc": "cc"}
    return {name: Tool(name, Path(program(name)), version) for name, version in names.items()}


@pytest.fixture
def library(tmp_path):
    """Build an archive: `library([Fake(...)], backend)`; members can be dropped or added, the models be others."""

    def build(
        fakes: Iterable[Fake],
        target: Backend,
        *,
        drop: tuple[str, ...] = (),
        add: Mapping[str, bytes] | None = None,
        expect: Iterable[str] | None = None,
    ) -> Library:
        fakes = list(fakes)
        data: dict[str, bytes] = {}
        for number, fake in enumerate(fakes):
            files = fake.objects(tmp_path / f"fake-{number}")
            data |= {name: path.read_bytes() for name, path in files.items() if name not in drop}
        data |= add or {}
        path = tmp_path / "libmodels.a"
        flavour = "darwin" if target.format == "macho" else "gnu"
        path.write_bytes(write_archive([Member(name, body) for name, body in data.items()], flavour))
        prefixes = expect if expect is not None else [fake.prefix for fake in fakes]
        return read_library(path, target, models(prefixes))

    return build


@pytest.fixture(scope="session")
def tvm_objects(tmp_path_factory) -> dict[str, list[Member]]:
    """Backend name -> objects of two models that TVM compiled, in a process of its own."""
    pytest.importorskip("tvm_ffi")
    out = tmp_path_factory.mktemp("tvm-objects")
    script = Path(__file__).parent / "compile_two_models.py"
    command = [sys.executable, str(script), str(out), *TRIPLES.values()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return {
        name: [
            member if member.name.startswith(prefix) else Member(prefix + member.name, member.data)
            for prefix in TVM_MODELS
            for member in read_tar((out / triple / f"{prefix}.tar").read_bytes(), prefix)
        ]
        for name, triple in TRIPLES.items()
    }


@pytest.fixture(scope="session")
def tvm_archives(tvm_objects, tmp_path_factory) -> dict[str, Path]:
    """Backend name -> directory with the outputs of the archive step (written here, with the same names)."""
    made = {}
    for name, members in tvm_objects.items():
        folder = tmp_path_factory.mktemp(name)
        grouped = {prefix: tuple(one for one in members if one.name.startswith(prefix)) for prefix in TVM_MODELS}
        merged = merge_objects(ModelObjects(prefix, prefix, objects) for prefix, objects in grouped.items())
        (folder / "libmodels.a").write_bytes(write_archive(merged.members, merged.flavour))
        described = {
            "library": "libmodels.a",
            "backend": backend_params(name if name in BACKENDS else "ios-arm64"),
            "sha256": "",
            "size": 0,
            "models": [described_model(prefix) for prefix in TVM_MODELS],
            "undefined": [],
        }
        (folder / "archive.json").write_text(json.dumps(described))
        made[name] = folder
    return made


@pytest.fixture(scope="session")
def worker():
    """A real worker: what crashes in it takes a child along, not the tests."""
    warm = ToolchainWorker(path=[Path(pipeline.__file__).parents[1]])
    yield warm
    warm.close()


class FakeServices:
    """Services of a run that nobody watches."""

    def __init__(self, worker, *, strict):
        self._worker, self.strict = worker, strict

    def worker(self, toolchain, **_fresh):
        assert toolchain == "current"
        return self._worker

    def progress(self, done, total, unit):
        """Nobody watches."""


@pytest.fixture
def job(tmp_path, worker):
    """Make a job with a scratch directory of its own: `job(params, inputs, tools)`."""
    count = iter(range(1000))

    def make(
        params: Mapping, inputs: Mapping[str, Path], tools: Mapping[str, Tool | None], *, strict: bool = False
    ) -> Job:
        out = tmp_path / f"out-{next(count)}"
        out.mkdir()
        if "product_kind" in params:
            kind = verify.ProductProof
        elif params.get("kind") == "backend":
            kind = verify.BackendProof
        else:
            kind = linkkit.Params if "kind" in params else xcframework.Params
        asked = decode(kind, dict(params), "params")
        return PlacedJob(asked, inputs, tools, out, tmp_path / "log.txt", FakeServices(worker, strict=strict))

    return make
