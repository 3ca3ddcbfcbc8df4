"""The real mlc_llm, where there is one: `prepare_mlc.py` prepares it and the models, and prints the variables to set.

Models of six families are compiled for the backends of an app with a web page. Only the weights are fakes, and no
library is made of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from projects import DODO, Project

from pipeline import roles
from pipeline.action import Job
from pipeline.binary.objects import read_object
from pipeline.compilers import mlc
from pipeline.doit_plugin.session import Session
from pipeline.engine.options import Options
from pipeline.steps import compile_mlc

ENVIRONMENT, CHECKOUT = os.environ.get("MLC_TEST_ENVIRONMENT"), os.environ.get("MLC_LLM_SOURCE_DIR")
CONFIGS = os.environ.get("MLC_TEST_MODELS")

MODELS = ("qwen3", "gemma3-270m", "llama", "phi3", "mistral", "qwen2")
BACKENDS = ("ios", "catalyst-arm64", "catalyst-x86_64", "android", "web")

pytestmark = [
    pytest.mark.mlc,
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not CONFIGS or not (ENVIRONMENT or CHECKOUT), reason="needs what prepare_mlc.py prepares"),
]

TARGETS = """\
version: 1
toolchains:
  mlc: {TOOLCHAIN}
models:
MODELS
backends:
  ios: {preset: iphone, deployment_target: "15.0"}
  catalyst-arm64: {preset: macabi, deployment_target: "17.0"}
  catalyst-x86_64: {preset: macabi, arch: x86_64, deployment_target: "17.0"}
  android: {preset: android}
  web: {preset: webgpu}
matrix:
  model: [NAMES]
  backend: [ios, catalyst-arm64, catalyst-x86_64, android, web]
products:
  apple: {kind: xcframework, backends: [ios, catalyst-arm64, catalyst-x86_64]}
"""

MODEL = """\
  NAME:
    compiler: mlc
    toolchain: mlc
    weights: {path: NAME}
    variants: {q4f16_1: {overrides: {context_window_size: 1024, prefill_chunk_size: 512}}}
"""


def prepared(model: str, name: str) -> dict:
    return json.loads(Path(str(CONFIGS), model, name).read_text())


def weights(folder: Path, model: str, **changes: object) -> None:
    """A model's configuration and index, and zeros in place of its weights."""
    folder.mkdir(exist_ok=True)
    index = prepared(model, "tensor-cache.json")
    chat = prepared(model, "mlc-chat-config.json") | {"tokenizer_files": ["tokenizer.json"]} | changes
    (folder / "mlc-chat-config.json").write_text(json.dumps(chat))
    (folder / "tensor-cache.json").write_text(json.dumps(index))
    (folder / "tokenizer.json").write_text("{}\n")
    for shard in index["records"]:
        with (folder / shard["dataPath"]).open("wb") as file:
            file.truncate(shard["nbytes"])


def cell(model: str, backend: str) -> str:
    return f"compile:{model}-q4f16_1@{backend}+mlc"


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Project:
    """The project, built."""
    root = tmp_path_factory.mktemp("real") / "project"
    root.mkdir()
    parts = [f"path: {Path(ENVIRONMENT).absolute()}"] if ENVIRONMENT else []
    parts += ["source: $MLC_LLM_SOURCE_DIR"] if CHECKOUT else []
    models = "".join(MODEL.replace("NAME", name) for name in MODELS)
    text = TARGETS.replace("TOOLCHAIN", ", ".join(parts)).replace("NAMES", ", ".join(MODELS))
    (root / "targets.yaml").write_text(text.replace("MODELS\n", models))
    (root / "dodo.py").write_text(DODO)
    for name in MODELS:
        weights(root / name, name)
    project = Project(root)
    project.ok(timeout=7200)
    return project


@pytest.fixture(scope="module")
def session(real) -> Iterator[Session]:
    made = Session(real.path("targets.yaml"), Options())
    yield made
    made.worker.close()


def test_everything_is_proven_and_nothing_is_left_to_do(real):
    for backend in BACKENDS:
        checks = real.json(f"build/verify/{backend}/report.json")["checks"]
        assert {check["state"] for check in checks} == {"proven"}, checks
    assert real.ok().idle


@pytest.mark.parametrize(
    ("model", "backend"), [*(("qwen3", one) for one in BACKENDS[1:]), *((one, "catalyst-x86_64") for one in MODELS[1:])]
)
def test_objects_are_those_of_a_single_compile(real, session, tmp_path, model, backend):
    params = session.engine.actions[cell(model, backend)].params
    inputs = {roles.TOOLCHAIN: real.path("build/toolchain/mlc"), roles.CONFIG: tmp_path / "config"}
    inputs[roles.CONFIG].mkdir()
    (tmp_path / "config" / "mlc-chat-config.json").write_text(json.dumps(prepared(model, "mlc-chat-config.json")))
    job = Job(params=params, inputs=inputs, tools={}, out=tmp_path / "out", log=tmp_path / "log", services=None)
    job.out.mkdir()
    work = partial(mlc.compile_model, asked=compile_mlc.compilation(job), out=job.out, log=job.log)
    session.worker("mlc").call(work, log=job.log)
    made = {path.name: path.read_bytes() for path in job.out.glob("*.o")}
    folder = real.path(f"build/compile/{model}-q4f16_1@{backend}+mlc")
    assert len(made) == 2
    assert made == {path.name: path.read_bytes() for path in folder.glob("*.o")}


def test_a_device_is_lowered_once_for_all_its_hosts(session):
    for model in MODELS:
        records = [session.engine.store.record(session.engine.workspace.get(cell(model, one)).key) for one in BACKENDS]
        assert not any("singly" in record.facts for record in records)
        assert len({record.facts["lower_cpu"] for record in records[:3]}) == 1, model


def test_names_are_those_that_this_very_mlc_gives(session):
    names = [name for name in session.engine.actions if name.startswith("compile:")]
    assert len(names) == len(MODELS) * len(BACKENDS)
    for name in names:
        facts = session.engine.store.record(session.engine.workspace.get(name).key).facts
        device = "android" if "@android" in name else "iphone"
        assert facts["model_lib"] == facts["mlc_names"][device], name
        assert facts["memory"]["decode"] > 0


def test_objects_are_for_the_declared_systems(real):
    wanted = {"ios": "15.0", "catalyst-arm64": "17.0", "catalyst-x86_64": "17.0"}
    for backend, version in wanted.items():
        for path in real.path("build/compile").glob(f"*@{backend}+mlc/*.o"):
            assert read_object(path.read_bytes(), path.name).minimum_os == version


def test_a_deployment_target_recompiles_its_cells_only(real):
    real.edit("targets.yaml", 'iphone, deployment_target: "15.0"', 'iphone, deployment_target: "16.0"')
    built = {name for name in real.ok(timeout=3600).built if name.startswith("compile:")}
    assert built == {cell(model, "ios") for model in MODELS}


def test_what_this_mlc_does_not_know_is_named(real):
    weights(real.path("llama"), "llama", model_type="mamba9")
    named = "{path: llama}\n    variants: {q4f16_1: {"
    real.edit("targets.yaml", named, named + "model_lib: own_name, ")
    run = real.doit(cell("llama", "web"))
    assert run.status != 0
    assert "toolchain mlc does not know the architecture 'mamba9'" in run.output
    assert json.dumps("llama").strip('"') in run.output
